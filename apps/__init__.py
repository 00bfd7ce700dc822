"""The product: one Django app per noun. An app imports only from the apps below it (docs/architecture.md)."""
