"""What changes accounts and tokens."""

import secrets
from datetime import datetime, timedelta

from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import ApiToken, User
from apps.core.errors import FieldError, InvalidInput

KEY_PREFIX = "tb_"
DEFAULT_TOKEN_DAYS = 365


def create_token(
    *, user: User, name: str, scope: str = ApiToken.Scope.READ, expires_at: datetime | None = None
) -> tuple[ApiToken, str]:
    """Create a token and return it with its key, which cannot be read again. Tokens expire after a year by default."""
    if scope not in ApiToken.Scope.values:
        known = ", ".join(ApiToken.Scope.values)
        raise InvalidInput(
            _("There is no scope %(scope)r.") % {"scope": scope},
            [FieldError("/scope", _("Use one of %(known)s.") % {"known": known})],
        )
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        scope=scope,
        digest=ApiToken.digest_of(key),
        expires_at=expires_at or timezone.now() + timedelta(days=DEFAULT_TOKEN_DAYS),
    )
    return token, key


def note_token_use(*, token: ApiToken) -> None:
    """Remember when a token was used last, at most once a minute, so that reads stay reads."""
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > timedelta(minutes=1):
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now)


def revoke_token(*, token: ApiToken) -> None:
    """Make a token worthless from now on; revoking it again keeps the first time."""
    ApiToken.objects.filter(pk=token.pk, revoked_at=None).update(revoked_at=timezone.now())
