"""Who is calling, and whether their token may write. What they may see is each view's access check."""

from typing import Any

from rest_framework.authentication import BaseAuthentication, get_authorization_header
from rest_framework.exceptions import AuthenticationFailed
from rest_framework.permissions import SAFE_METHODS, BasePermission
from rest_framework.request import Request

from apps.accounts.models import ApiToken, User
from apps.accounts.services import note_token_use

SCHEMES = (b"token", b"bearer")


class TokenAuthentication(BaseAuthentication):
    """`Authorization: Token <key>` or `Authorization: Bearer <key>`."""

    def authenticate(self, request: Request) -> tuple[User, ApiToken] | None:
        """Return the person and the token; None without such a header, so that a session may speak."""
        scheme, *rest = get_authorization_header(request).split() or [b""]
        if scheme.lower() not in SCHEMES:
            return None
        if len(rest) != 1:
            raise AuthenticationFailed("The header must look like this: Authorization: Token <key>")
        token = ApiToken.objects.usable(rest[0].decode("latin-1"))
        if token is None:
            raise AuthenticationFailed("The token is unknown, has expired, or was revoked.")
        note_token_use(token=token)
        return token.user, token

    def authenticate_header(self, request: Request) -> str:
        """Return what a 401 asks for."""
        return 'Token realm="tiebreak"'


class ScopedPermission(BasePermission):
    """Let in everybody who is signed in; a token that may only read does not write."""

    message = "This token may only read; create one with the scope write."

    def has_permission(self, request: Request, view: Any) -> bool:
        """Say whether the request may go on."""
        if not request.user.is_authenticated:
            return False
        writes = request.method not in SAFE_METHODS
        return not isinstance(request.auth, ApiToken) or request.auth.allows(writes=writes)
