"""REST: one's own language models. Superusers see everybody's; a token that is limited to projects sees none."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import ListView
from apps.endpoints import services
from apps.endpoints.models import ModelEndpoint
from apps.endpoints.serializers import EndpointChangesSerializer, EndpointSerializer, NewEndpointSerializer


class EndpointList(ListView):
    """Your language models."""

    serializer_class = EndpointSerializer

    def get_queryset(self) -> QuerySet[ModelEndpoint]:
        """Return the endpoints that this person sees."""
        return services.endpoints_of(self.request.user)  # type: ignore[arg-type]

    @extend_schema(request=NewEndpointSerializer, responses={201: EndpointSerializer})
    def post(self, request: SignedInRequest) -> Response:
        """Add a language model. Its key is encrypted and never given back."""
        body = NewEndpointSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        endpoint = services.create_endpoint(owner=request.user, **body.validated_data)
        return Response(EndpointSerializer(endpoint).data, status=status.HTTP_201_CREATED)


class EndpointDetail(APIView):
    """One language model of yours."""

    @extend_schema(operation_id="model_endpoints_retrieve", responses=EndpointSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return a language model, without its key."""
        return Response(EndpointSerializer(services.get_endpoint(request.user, id)).data)

    @extend_schema(request=EndpointChangesSerializer, responses=EndpointSerializer)
    def patch(self, request: SignedInRequest, id: str) -> Response:
        """Change a language model. Another address forgets the key unless it comes along."""
        endpoint = services.get_endpoint(request.user, id)
        body = EndpointChangesSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        changed = services.change_endpoint(endpoint=endpoint, **body.validated_data)
        return Response(EndpointSerializer(changed).data)

    @extend_schema(responses={204: None})
    def delete(self, request: SignedInRequest, id: str) -> Response:
        """Delete a language model with its stored answers and its log."""
        services.delete_endpoint(endpoint=services.get_endpoint(request.user, id))
        return Response(status=status.HTTP_204_NO_CONTENT)


class EndpointTest(APIView):
    """A question of one word."""

    @extend_schema(request=None, responses={200: EndpointSerializer, 202: EndpointSerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Ask the model for one word: `test` has its answer, or what is wrong. 202 while the gpu worker is to ask."""
        endpoint = services.test_endpoint(endpoint=services.get_endpoint(request.user, id))
        code = status.HTTP_202_ACCEPTED if endpoint.test_wanted_at else status.HTTP_200_OK
        return Response(EndpointSerializer(endpoint).data, status=code)
