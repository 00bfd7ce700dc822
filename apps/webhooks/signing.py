"""Secrets and signatures as Standard Webhooks has them (https://www.standardwebhooks.com, version 1).

A secret is not stored. It is derived from SECRET_KEY and the seed in the endpoint's row, so that a copy of the database
signs nothing. While SECRET_KEY_FALLBACKS names an older key, messages carry a signature for it as well.
"""

import base64
import secrets
from collections.abc import Sequence
from datetime import datetime

from django.conf import settings
from django.utils.crypto import salted_hmac
from standardwebhooks import Webhook

_SALT = "apps.webhooks.signing"


def new_seed() -> str:
    """Return what a new secret is derived from."""
    return secrets.token_urlsafe(24)


def secret_of(seed: str, key: str | None = None) -> str:
    """Return the secret of a seed, `whsec_…`: 32 bytes that only this server can derive."""
    digest = salted_hmac(_SALT, seed, secret=key or settings.SECRET_KEY, algorithm="sha256").digest()
    return f"whsec_{base64.b64encode(digest).decode()}"


def signed_headers(*, event_id: str, payload: str, seeds: Sequence[str], now: datetime) -> dict[str, str]:
    """Return the headers of a message: one signature for each secret that is valid now, separated by spaces."""
    keys = [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS]
    signers = [Webhook(secret_of(seed, key)) for seed in seeds for key in keys]
    return {
        "Content-Type": "application/json",
        "webhook-id": event_id,
        "webhook-timestamp": str(int(now.timestamp())),
        "webhook-signature": " ".join(signer.sign(event_id, now, payload) for signer in signers),
    }
