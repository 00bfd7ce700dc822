"""HTTP's Basic credentials (RFC 7617), which clients that take only an address make of `http://token:KEY@host/`."""

import base64


def password_of(credentials: str) -> str:
    """Return the password of an Authorization header's credentials; of nonsense, none."""
    try:
        return base64.b64decode(credentials, validate=True).decode().partition(":")[2]
    except ValueError:
        return ""
