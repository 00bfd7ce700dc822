"""What changes accounts and tokens, and who a key belongs to."""

import secrets
from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

from django.db import connection, transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import ApiToken, User
from apps.core.allowances import SPEND, Left, Limit, refused
from apps.core.errors import FieldError, Forbidden, InvalidInput

KEY_PREFIX = "tb_"
DEFAULT_TOKEN_DAYS = 365
MAX_TOKEN_DAYS = 3650


# --- Making and revoking ---


def create_token(
    *,
    user: User,
    name: str,
    scope: str = ApiToken.Scope.READ,
    projects: Collection[str] | None = None,
    days: int = DEFAULT_TOKEN_DAYS,
    made_by: ApiToken | None = None,
) -> tuple[ApiToken, str]:
    """Create a token and return it with its key, which cannot be read again.

    `projects` are the slugs of those it is limited to; None is all that its person is in, now and later. A token that
    makes a token (`made_by`) never makes a stronger one: not of a wider scope, for more projects or for longer.
    """
    if scope not in ApiToken.Scope.values:
        known = ", ".join(ApiToken.Scope.values)
        raise InvalidInput(
            _("There is no scope %(scope)r.") % {"scope": scope},
            [FieldError("/scope", _("Use one of %(known)s.") % {"known": known})],
        )
    if not 1 <= days <= MAX_TOKEN_DAYS:
        detail = _("Expected a whole number from 1 to %(most)s.") % {"most": MAX_TOKEN_DAYS}
        raise InvalidInput(detail, [FieldError("/days", detail)])
    project_ids = None if projects is None else _ids_of(user, projects)
    expires_at = timezone.now() + timedelta(days=days)
    if made_by is not None:
        expires_at = _weaker(made_by, scope, project_ids, expires_at)
    key = KEY_PREFIX + secrets.token_urlsafe(32)
    token = ApiToken.objects.create(
        user=user,
        name=name,
        scope=scope,
        digest=ApiToken.digest_of(key),
        project_ids=project_ids,
        made_by=made_by,
        expires_at=expires_at,
    )
    return token, key


@transaction.atomic
def revoke_token(*, token: ApiToken) -> None:
    """Make a token, and every token made with it, worthless from now on; revoking again keeps the first time."""
    family = {token.pk}
    while made := set(ApiToken.objects.filter(made_by__in=family).values_list("pk", flat=True)) - family:
        family |= made
    ApiToken.objects.filter(pk__in=family, revoked_at=None).update(revoked_at=timezone.now())


def slugs_by_id(*, user: User, tokens: Collection[ApiToken]) -> dict[int, str]:
    """Return the slugs of the projects that these tokens are limited to, as far as their person is in them."""
    ids = {project_id for token in tokens for project_id in token.project_ids or ()}
    return dict(user.memberships.filter(project__in=ids).values_list("project_id", "project__slug")) if ids else {}


def _ids_of(user: User, slugs: Collection[str]) -> list[int]:
    known = dict(user.memberships.filter(project__slug__in=slugs).values_list("project__slug", "project_id"))
    missing = sorted(set(slugs) - set(known))
    if missing or not known:
        detail = (
            _("You are not a member of a project %(slug)s.") % {"slug": missing[0]}
            if missing
            else _("Name at least one project.")
        )
        raise InvalidInput(detail, [FieldError("/projects", detail)])
    return sorted(known.values())


def _weaker(maker: ApiToken, scope: str, project_ids: Sequence[int] | None, expires_at: datetime) -> datetime:
    """Return when a token may expire that `maker` makes; raise Forbidden if it would be stronger in another way."""
    if not maker.allows(scope):
        raise Forbidden(_("A token cannot make one of a wider scope than its own."))
    if maker.project_ids is not None and not set(project_ids or ()) <= set(maker.project_ids):
        raise Forbidden(_("A token cannot make one for projects that it is not for itself."))
    if maker.project_ids is not None and project_ids is None:
        raise Forbidden(_("A token that is limited to projects makes only such tokens; name them."))
    return min(expires_at, maker.expires_at) if maker.expires_at else expires_at


# --- Recognising ---

_TOKEN = [field.attname for field in ApiToken._meta.concrete_fields]
_USER = [field.attname for field in User._meta.concrete_fields]
_COLUMNS = (
    ", ".join([f"token.{field.column}" for field in ApiToken._meta.concrete_fields])
    + ", "
    + ", ".join(f"person.{field.column}" for field in User._meta.concrete_fields)
)
_FIND = f"""
SELECT {_COLUMNS} FROM accounts_apitoken AS token JOIN accounts_user AS person ON person.id = token.user_id
WHERE token.digest = %(digest)s
"""  # noqa: S608  (the names of our own columns)
_FIND_AND_SPEND = f"""
WITH spent AS ({SPEND.format(key="'token:' || id", source="FROM accounts_apitoken WHERE digest = %(digest)s")})
SELECT {_COLUMNS}, spent.until_full
FROM accounts_apitoken AS token JOIN accounts_user AS person ON person.id = token.user_id LEFT JOIN spent ON true
WHERE token.digest = %(digest)s
"""  # noqa: S608


def recognise(*, key: str, limit: Limit) -> tuple[ApiToken | None, Left | None]:
    """Return the live token with this key, and what is left of its allowance after this request (one statement)."""
    digest = ApiToken.digest_of(key)
    with connection.cursor() as cursor:
        if limit.units:
            cursor.execute(_FIND_AND_SPEND, {"digest": digest, **limit.values})
        else:
            cursor.execute(_FIND, {"digest": digest})
        row = cursor.fetchone()
    if row is None:
        return None, None
    token = ApiToken.from_db(connection.alias, _TOKEN, row[: len(_TOKEN)])
    token.user = User.from_db(connection.alias, _USER, row[len(_TOKEN) : len(_TOKEN) + len(_USER)])
    token.user.only_projects = token.project_ids
    if not token.is_usable:
        return None, None
    if not limit.units:
        return token, None
    return token, limit.left(row[-1]) if row[-1] is not None else refused(f"token:{token.pk}", limit)


def note_token_use(*, token: ApiToken, address: str) -> None:
    """Remember when and from where a token was used last, at most once a minute, so that reads stay reads."""
    now = timezone.now()
    if token.last_used_at is None or now - token.last_used_at > timedelta(minutes=1):
        ApiToken.objects.filter(pk=token.pk).update(last_used_at=now, last_used_from=address or None)
