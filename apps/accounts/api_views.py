"""REST: one's own tokens; and what the REST views of every app may rely on about the caller."""

from typing import Any

from django.db.models import Q, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.request import Request
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.models import ApiToken, User
from apps.accounts.serializers import MadeTokenSerializer, NewTokenSerializer, TokenSerializer
from apps.accounts.services import create_token, revoke_token, slugs_by_id
from apps.core.api_views import ListView
from apps.core.errors import Forbidden, NotFound

MAX_ID_DIGITS = 18


class SignedInRequest(Request):
    """A request for type checkers: the API lets nobody in who is not signed in (`apps.api.authentication`)."""

    user: User


def token_of(request: Request) -> ApiToken | None:
    """Return the token that a request came with; None for a browser's session."""
    return request.auth if isinstance(request.auth, ApiToken) else None


def require_admin(request: Request, what: str) -> None:
    """Refuse a token that may not give power away; a person in the browser does what their role allows."""
    token = token_of(request)
    if token is not None and not token.allows(ApiToken.Scope.ADMIN):
        raise Forbidden(f"{what} needs a token with the scope admin.")


class TokenList(ListView):
    """Your tokens: with a session all of them, with a token of the scope admin those that it could have made."""

    serializer_class = TokenSerializer
    scope = ApiToken.Scope.ADMIN
    slugs: dict[int, str] = {}

    def get_queryset(self) -> QuerySet[ApiToken]:
        """Return the tokens."""
        return _within_reach(self.request)

    def paginate_queryset(self, queryset: Any) -> Any:
        """Return a page, and look up the names of its projects (one query if there are any)."""
        page = super().paginate_queryset(queryset)
        self.slugs = slugs_by_id(user=self.request.user, tokens=page or [])  # type: ignore[arg-type]
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """Add the slugs of the page."""
        return {**super().get_serializer_context(), "slugs": self.slugs}

    @extend_schema(request=NewTokenSerializer, responses={201: MadeTokenSerializer})
    def post(self, request: SignedInRequest) -> Response:
        """Make a token. Its key is in this reply and cannot be read again. Revoking yours revokes it, too."""
        body = NewTokenSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        token, key = create_token(user=request.user, made_by=token_of(request), **body.validated_data)
        token.key = key  # type: ignore[attr-defined]
        context = {"slugs": slugs_by_id(user=request.user, tokens=[token])}
        made = MadeTokenSerializer(token, context=context).data
        return Response(made, status=status.HTTP_201_CREATED, headers={"Cache-Control": "no-store"})


class TokenDetail(APIView):
    """One of your tokens."""

    scope = ApiToken.Scope.ADMIN

    @extend_schema(responses={204: None})
    def delete(self, request: SignedInRequest, id: str) -> Response:
        """Revoke a token and all that were made with it; doing it again changes nothing."""
        known = id.isascii() and id.isdecimal() and len(id) <= MAX_ID_DIGITS
        token = _within_reach(request).filter(pk=id).first() if known else None
        if token is None:
            raise NotFound("There is no such token of yours.")
        revoke_token(token=token)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _within_reach(request: Request) -> QuerySet[ApiToken]:
    """Return the person's tokens; to a token that is limited to projects, those that are not for any other."""
    mine = ApiToken.objects.filter(user=request.user)  # type: ignore[misc]
    token = token_of(request)
    if token is None or token.project_ids is None:
        return mine
    return mine.filter(Q(pk=token.pk) | Q(project_ids__contained_by=token.project_ids))
