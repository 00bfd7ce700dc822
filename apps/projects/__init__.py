"""Projects, protocols, guideline versions, membership and access, the audit log."""
