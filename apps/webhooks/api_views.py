"""REST: webhooks, their log and replay. For managers.

A webhook carries news away for as long as it stands, whatever becomes of the token that made it. So making one,
changing one and a new secret need a token with the scope admin.
"""

from typing import Any

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest, require_admin
from apps.core.api_views import Filter, ListView
from apps.projects.access import Role, get_owned, get_project
from apps.webhooks import services
from apps.webhooks.events import EVENTS, TEST
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from apps.webhooks.serializers import (
    DeliverySerializer,
    NewWebhookSerializer,
    WebhookChangesSerializer,
    WebhookSerializer,
    WebhookWithSecretSerializer,
)


class WebhookList(ListView):
    """The webhooks of a project; for managers."""

    serializer_class = WebhookSerializer

    def get_queryset(self) -> QuerySet[WebhookEndpoint]:
        """Return the webhooks of the project."""
        return get_project(self.request.user, self.kwargs["slug"], Role.MANAGER).webhooks.all()

    @extend_schema(request=NewWebhookSerializer, responses={201: WebhookWithSecretSerializer})
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Send events to an address; the reply has the secret that signs them, once. Needs the scope admin."""
        project = get_project(request.user, slug, Role.MANAGER)
        require_admin(request, "Making a webhook")
        body = NewWebhookSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        endpoint, secret = services.create_endpoint(project=project, actor=request.user, **body.validated_data)
        return _with_secret(endpoint, secret, status.HTTP_201_CREATED)


class WebhookDetail(APIView):
    """One webhook; for managers."""

    @extend_schema(responses=WebhookSerializer)
    def get(self, request: SignedInRequest, slug: str, id: str) -> Response:
        """Return a webhook, without its secret."""
        return Response(WebhookSerializer(_endpoint(request, slug, id)).data)

    @extend_schema(request=WebhookChangesSerializer, responses=WebhookSerializer)
    def patch(self, request: SignedInRequest, slug: str, id: str) -> Response:
        """Change a webhook. Off ends what waits, on again forgets earlier failures. Needs the scope admin."""
        endpoint = _endpoint(request, slug, id)
        require_admin(request, "Changing a webhook")
        body = WebhookChangesSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        changed = services.change_endpoint(endpoint=endpoint, actor=request.user, **body.validated_data)
        return Response(WebhookSerializer(changed).data)

    @extend_schema(responses={204: None})
    def delete(self, request: SignedInRequest, slug: str, id: str) -> Response:
        """Delete a webhook with its log."""
        services.delete_endpoint(endpoint=_endpoint(request, slug, id), actor=request.user)
        return Response(status=status.HTTP_204_NO_CONTENT)


class WebhookTest(APIView):
    """A message that says nothing."""

    @extend_schema(request=None, responses={202: DeliverySerializer})
    def post(self, request: SignedInRequest, slug: str, id: str) -> Response:
        """Send a message of the type `webhook.test` within seconds; what became of it is in the log."""
        delivery = services.send_test(endpoint=_endpoint(request, slug, id))
        return Response(DeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)


class WebhookRotate(APIView):
    """A new secret."""

    @extend_schema(request=None, responses=WebhookWithSecretSerializer)
    def post(self, request: SignedInRequest, slug: str, id: str) -> Response:
        """Replace the secret; messages carry a signature of the earlier one for 24 h, too. Needs the scope admin."""
        endpoint = _endpoint(request, slug, id)
        require_admin(request, "A new secret")
        endpoint, secret = services.rotate_secret(endpoint=endpoint, actor=request.user)
        return _with_secret(endpoint, secret)


class DeliveryList(ListView):
    """What a webhook has sent in the last thirty days, and what it is about to send; for managers."""

    serializer_class = DeliverySerializer
    filters = {
        "state": Filter("state", choices=WebhookDelivery.State.values),
        "event": Filter("event", choices=(*EVENTS, TEST)),
    }

    def get_queryset(self) -> QuerySet[WebhookDelivery]:
        """Return the deliveries of the webhook."""
        return _endpoint(self.request, self.kwargs["slug"], self.kwargs["id"]).deliveries.all()


class DeliveryReplay(APIView):
    """A message once more."""

    @extend_schema(request=None, responses={202: DeliverySerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Send a message again, under the same `webhook-id`; 409 while its webhook is switched off."""
        rows = WebhookDelivery.objects.select_related("project")
        delivery = services.replay(delivery=get_owned(request.user, rows, id, Role.MANAGER))
        return Response(DeliverySerializer(delivery).data, status=status.HTTP_202_ACCEPTED)


def _endpoint(request: Any, slug: str, id: str) -> WebhookEndpoint:
    project = get_project(request.user, slug, Role.MANAGER)
    return get_owned(request.user, WebhookEndpoint.objects.filter(project=project), id, Role.MANAGER)


def _with_secret(endpoint: WebhookEndpoint, secret: str, code: int = status.HTTP_200_OK) -> Response:
    """Return the only reply that has a secret; nobody on the way keeps it."""
    body = {**WebhookSerializer(endpoint).data, "secret": secret}
    return Response(body, status=code, headers={"Cache-Control": "no-store"})
