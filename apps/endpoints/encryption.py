"""Keys of language models at rest: Fernet (AES-128-CBC with an HMAC), under keys derived from ENCRYPTION_KEYS.

The first setting encrypts and all of them decrypt, so a new one is put in front, `manage.py encrypt_keys_again` is run,
and the old one is dropped. The default is SECRET_KEY and its fallbacks: a copy of the database opens nothing.
"""

import base64

from cryptography.fernet import Fernet, InvalidToken, MultiFernet
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from django.conf import settings
from django.utils.translation import gettext as _

from apps.core.errors import Conflict

_INFO = b"apps.endpoints.encryption"


def encrypted(key: str) -> str:
    """Return a key as it is stored."""
    return _fernet().encrypt(key.encode()).decode() if key else ""


def decrypted(stored: str) -> str:
    """Return a stored key; raise Conflict when none of the settings opens it."""
    if not stored:
        return ""
    try:
        return _fernet().decrypt(stored.encode()).decode()
    except InvalidToken as error:
        raise Conflict(_("The stored key was encrypted under a setting that is gone. Enter it again.")) from error


def encrypted_again(stored: str) -> str:
    """Return a stored key under the first setting; raise Conflict when none opens it."""
    return encrypted(decrypted(stored))


def _fernet() -> MultiFernet:
    return MultiFernet([Fernet(_derived(secret)) for secret in settings.ENCRYPTION_KEYS])


def _derived(secret: str) -> bytes:
    """Return a Fernet key of 32 bytes: HKDF (RFC 5869) of a secret that is long and random already."""
    derived = HKDF(algorithm=SHA256(), length=32, salt=None, info=_INFO).derive(secret.encode())
    return base64.urlsafe_b64encode(derived)
