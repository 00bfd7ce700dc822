"""Who sends a request, found out once, and what their allowance says about it."""

from dataclasses import dataclass

from django.conf import settings
from django.http import HttpRequest
from rest_framework.exceptions import AuthenticationFailed

from apps.accounts.models import ApiToken
from apps.accounts.services import note_token_use, recognise
from apps.core.addresses import client_address, network_of
from apps.core.allowances import Left, Limit, spend
from apps.core.errors import TooMany
from worker.core.basic_auth import password_of

SCHEMES = ("token", "bearer")
REWARDS = "/rm/"
MINUTE, GUESSING = 60.0, 600.0


@dataclass(frozen=True)
class Caller:
    """A token, a person with a session, or an address; `owner` names it, "" for nobody who has signed in."""

    owner: str
    token: ApiToken | None = None
    left: Left | None = None
    wrong: AuthenticationFailed | None = None
    """Why the Authorization header does not count; addresses that need nobody signed in answer all the same."""


def identify(request: HttpRequest) -> Caller:
    """Return who sends this request, and charge them for it once (one statement); raise TooMany."""
    caller: Caller | None = request.__dict__.get("api_caller")
    if caller is None:
        caller = request.__dict__["api_caller"] = _identify(request)
    return caller


def _identify(request: HttpRequest) -> Caller:
    scheme, _, key = request.META.get("HTTP_AUTHORIZATION", "").strip().partition(" ")
    if scheme.lower() in SCHEMES:
        return _with_token(request, key.strip())
    if scheme.lower() == "basic" and request.path_info.startswith(REWARDS):
        return _with_token(request, password_of(key))
    if request.user.is_authenticated:
        owner = f"user:{request.user.pk}"
        return Caller(owner, left=_checked(spend(owner, Limit("person", settings.API_RATE_LIMIT, MINUTE))))
    address = network_of(client_address(request))
    limit = Limit("address", settings.API_RATE_LIMIT_ANONYMOUS, MINUTE)
    return Caller("", left=_checked(spend(f"address:{address}", limit)))


def _with_token(request: HttpRequest, key: str) -> Caller:
    if not key or " " in key:
        return _wrong(request, "The header must look like this: Authorization: Token <key>")
    token, left = recognise(key=key, limit=Limit("token", settings.API_RATE_LIMIT, MINUTE))
    if token is None:
        return _wrong(request, "The token is unknown, has expired, or was revoked.")
    _checked(left)
    note_token_use(token=token, address=client_address(request))
    return Caller(f"token:{token.pk}", token, left)


def _wrong(request: HttpRequest, detail: str) -> Caller:
    """Charge the address for a token that opens nothing: whoever tries keys gets few, and its own keys still work."""
    address = network_of(client_address(request))
    left = _checked(spend(f"guess:{address}", Limit("wrong-token", settings.FAILED_TOKENS, GUESSING)))
    return Caller("", left=left, wrong=AuthenticationFailed(detail))


def _checked(left: Left | None) -> Left | None:
    if left is not None and left.refused:
        error = TooMany(
            f"At most {left.limit.units} requests in {left.limit.period:.0f} seconds: "
            f"wait {left.retry_after} s before the next one.",
            left.retry_after,
        )
        error.headers.update(limit_headers(left))
        raise error
    return left


def limit_headers(left: Left) -> dict[str, str]:
    """Return the fields of draft-ietf-httpapi-ratelimit-headers-10."""
    name, limit = left.limit.name, left.limit
    return {
        "RateLimit-Policy": f'"{name}";q={limit.units};w={limit.period:.0f}',
        "RateLimit": f'"{name}";r={left.units};t={left.seconds}',
    }
