"""Who is calling, and whether their token may write. What they may see is each view's access check."""

from typing import Any

from rest_framework.authentication import BaseAuthentication
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from apps.accounts.models import ApiToken, User
from apps.api.callers import identify

READ, WRITE = ApiToken.Scope.READ, ApiToken.Scope.WRITE
MAY: dict[str, str] = {READ: "read", WRITE: "read and write"}


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Token <key>` or `Authorization: Bearer <key>`."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """Return the person and the token; None without such a header, so that a session may speak."""
        caller = identify(request._request)
        if caller.wrong is not None:
            raise caller.wrong
        return None if caller.token is None else (caller.token.user, caller.token)

    def authenticate_header(self, request: Request) -> str:
        """Return what a 401 asks for."""
        return 'Token realm="tiebreak"'


class ScopedPermission(BasePermission):
    """Let in everybody who is signed in, and a token as far as its scope goes.

    Reading needs the scope read and anything else write; a view that names a `scope` needs that for everything.
    """

    def has_permission(self, request: Request, view: Any) -> bool:
        """Say whether the request may go on."""
        if not request.user.is_authenticated:
            return False
        if not isinstance(request.auth, ApiToken):
            return True
        needed = getattr(view, "scope", None) or (READ if request.method in SAFE_METHODS else WRITE)
        if request.auth.allows(needed):
            return True
        self.message = f"This token may only {MAY[request.auth.scope]}; create one with the scope {needed}."
        return False
