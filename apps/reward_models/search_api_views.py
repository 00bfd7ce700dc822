"""REST: recipe searches."""

from django.db.models import QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import ListView
from apps.jobs.api_views import accepted
from apps.jobs.serializers import AcceptedSerializer
from apps.projects.access import SEES_RESULTS, get_owned, get_project
from apps.reward_models import searches
from apps.reward_models.api_views import snapshot_of
from apps.reward_models.models import RecipeSearch
from apps.reward_models.serializers import (
    NewRecipeSearchSerializer,
    RecipeSearchDetailSerializer,
    RecipeSearchSerializer,
    UseRecipeSerializer,
)


class RecipeSearchList(ListView):
    """The recipe searches of a project, for managers and researchers."""

    serializer_class = RecipeSearchSerializer

    def get_queryset(self) -> QuerySet[RecipeSearch]:
        """Return the searches with their jobs."""
        project = get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS)
        return project.recipe_searches.select_related("job").defer("trials", "recipe")

    @extend_schema(request=NewRecipeSearchSerializer, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Start a search. While one is unfinished, the same is the reply, another is 409; so are too few labels."""
        project = get_project(request.user, slug, *SEES_RESULTS)
        body = NewRecipeSearchSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        asked = dict(body.validated_data)
        snapshot = snapshot_of(project, asked.pop("snapshot", None))
        search = searches.start_search(project=project, snapshot=snapshot, created_by=request.user, **asked)
        return accepted(job=search.job, created=search)


class RecipeSearchDetail(APIView):
    """One recipe search."""

    @extend_schema(responses=RecipeSearchDetailSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return a search with what each recipe measured so far."""
        search = get_owned(request.user, RecipeSearch.objects.select_related("job"), id, *SEES_RESULTS)
        return Response(RecipeSearchDetailSerializer(search).data)


class RecipeSearchUse(APIView):
    """What a search found, used."""

    @extend_schema(request=UseRecipeSerializer, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Start a training with a trial's recipe, the best one's unless another is named; 409 when there is none."""
        search = get_owned(request.user, RecipeSearch.objects.all(), id, *SEES_RESULTS)
        body = UseRecipeSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        trial = body.validated_data.get("trial")
        run = searches.use_recipe(search=search, trial=trial, created_by=request.user)
        return accepted(job=run.job, created=run)
