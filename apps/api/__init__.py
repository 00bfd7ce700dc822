"""The REST router, authentication, problem replies and the schema."""
