"""REST: training runs and reward models."""

from django.db.models import QuerySet
from django.http import HttpResponse as PlainResponse
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import Filter, ListView
from apps.core.errors import FieldError, InvalidInput
from apps.exports.models import Snapshot
from apps.jobs.api_views import accepted
from apps.jobs.serializers import AcceptedSerializer
from apps.projects.access import SEES_RESULTS, Role, get_owned, get_project, is_id
from apps.projects.models import Project
from apps.reward_models import services
from apps.reward_models.archive import FolderArchive
from apps.reward_models.models import RewardModel, TrainingRun
from apps.reward_models.serializers import (
    NewTrainingRunSerializer,
    RewardModelDetailSerializer,
    RewardModelSerializer,
    TrainingRunDetailSerializer,
    TrainingRunSerializer,
)

TAR = "application/x-tar"


class TrainingRunList(ListView):
    """The training runs of a project, for managers and researchers."""

    serializer_class = TrainingRunSerializer

    def get_queryset(self) -> QuerySet[TrainingRun]:
        """Return the runs with their jobs."""
        project = get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS)
        return project.training_runs.select_related("job").defer("history", "recipe")

    @extend_schema(request=NewTrainingRunSerializer, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Start a training. While one is unfinished, that one is the reply; with too few labels it is 409."""
        project = get_project(request.user, slug, *SEES_RESULTS)
        body = NewTrainingRunSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        run = services.start_training(
            project=project,
            recipe=body.validated_data.get("recipe"),
            snapshot=snapshot_of(project, body.validated_data.get("snapshot")),
            created_by=request.user,
        )
        return accepted(job=run.job, created=run)


class TrainingRunDetail(APIView):
    """One training run."""

    @extend_schema(responses=TrainingRunDetailSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return a training run with its recipe and what was measured so far."""
        run = get_owned(request.user, TrainingRun.objects.select_related("job"), id, *SEES_RESULTS)
        return Response(TrainingRunDetailSerializer(run).data)


class RewardModelList(ListView):
    """The versions of a project's reward model, for managers and researchers."""

    serializer_class = RewardModelSerializer
    filters = {"state": Filter("state", choices=RewardModel.State.values)}

    def get_queryset(self) -> QuerySet[RewardModel]:
        """Return the versions of the project."""
        return get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS).reward_models.all()


class RewardModelDetail(APIView):
    """One version."""

    @extend_schema(responses=RewardModelDetailSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return a version with its lineage and evaluations."""
        model = get_owned(request.user, RewardModel.objects.select_related("training_run"), id, *SEES_RESULTS)
        return Response(RewardModelDetailSerializer(model).data)


class RewardModelPromote(APIView):
    """Promotion by hand."""

    @extend_schema(request=None, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Make this the current version and score with it; 409 when it is current already. For managers."""
        model = get_owned(request.user, RewardModel.objects.all(), id, Role.MANAGER)
        return accepted(job=services.promote(model=model, actor=request.user))


class RewardModelArchive(APIView):
    """The files of a version."""

    @extend_schema(
        responses={(200, TAR): OpenApiResponse(OpenApiTypes.BINARY, description="The folder that loaders read.")}
    )
    def get(self, request: SignedInRequest, id: str) -> HttpResponseBase:
        """Stream the model's folder as a tar."""
        model = get_owned(request.user, RewardModel.objects.all(), id, *SEES_RESULTS)
        root = f"{model.project.slug}-reward-model-{model.version}"
        archive = FolderArchive(folder=model.folder, files=model.files, root=root, modified=model.created_at)
        response: HttpResponseBase = (
            PlainResponse(content_type=TAR)
            if request.method == "HEAD"
            else StreamingHttpResponse(archive, content_type=TAR)
        )
        response.headers["Content-Length"] = str(archive.size)
        response.headers["Content-Disposition"] = f'attachment; filename="{root}.tar"'
        return response


def snapshot_of(project: Project, snapshot_id: str | None) -> Snapshot | None:
    """Return the project's snapshot of this id, if one is named; raise InvalidInput where there is none."""
    if snapshot_id is None:
        return None
    snapshot = project.snapshots.filter(pk=snapshot_id).first() if is_id(snapshot_id) else None
    if snapshot is None:
        detail = "There is no such snapshot in this project."
        raise InvalidInput(detail, [FieldError("/snapshot", detail)])
    return snapshot
