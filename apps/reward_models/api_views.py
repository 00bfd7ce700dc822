"""REST: training runs, reward models, what they are measured on, and the rule of promotion."""

from django.db.models import Prefetch, QuerySet
from django.http import HttpResponse as PlainResponse
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.generics import GenericAPIView
from rest_framework.parsers import MultiPartParser
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import Filter, ListView
from apps.core.entity_tags import etag_by
from apps.core.errors import FieldError, InvalidInput
from apps.exports.models import Snapshot
from apps.jobs.api_views import accepted
from apps.jobs.serializers import AcceptedSerializer
from apps.projects.access import SEES_RESULTS, Role, get_owned, get_project, is_id
from apps.projects.models import Project
from apps.reward_models import promotion, services
from apps.reward_models.archive import FolderArchive
from apps.reward_models.cards import card_of
from apps.reward_models.evaluations import start_evaluation
from apps.reward_models.models import Evaluation, PromotionDecision, RewardModel, TrainingRun
from apps.reward_models.serializers import (
    BenchmarkFileSerializer,
    EvaluationSerializer,
    NewEvaluationSerializer,
    NewTrainingRunSerializer,
    RetrainPolicySerializer,
    RewardModelDetailSerializer,
    RewardModelSerializer,
    TrainingRunDetailSerializer,
    TrainingRunSerializer,
)

TAR = "application/x-tar"
MARKDOWN = "text/markdown"


class TrainingRunList(ListView):
    """The training runs of a project, for managers and researchers."""

    serializer_class = TrainingRunSerializer

    def get_queryset(self) -> QuerySet[TrainingRun]:
        """Return the runs with their jobs."""
        project = get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS)
        return project.training_runs.select_related("job").defer("history", "recipe")

    @extend_schema(request=NewTrainingRunSerializer, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Start a training. While one is unfinished, the same is the reply, another is 409; so are too few labels."""
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


class TrainingRunResume(APIView):
    """A training taken up again."""

    @extend_schema(request=None, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Go on with a run that failed or was cancelled, from its last checkpoint; 409 where nothing is to resume."""
        run = get_owned(request.user, TrainingRun.objects.all(), id, *SEES_RESULTS)
        run = services.resume_training(run=run, created_by=request.user)
        return accepted(job=run.job, created=run)


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
        versions = RewardModel.objects.select_related("training_run").prefetch_related(
            Prefetch("decisions", PromotionDecision.objects.select_related("decided_by").order_by("-id"))
        )
        model = get_owned(request.user, versions, id, *SEES_RESULTS)
        return Response(RewardModelDetailSerializer(model).data)


class RewardModelPromote(APIView):
    """Promotion by hand."""

    @extend_schema(request=None, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Make this the current version and score with it; 409 when it is current already. For managers."""
        model = get_owned(request.user, RewardModel.objects.all(), id, Role.MANAGER)
        return accepted(job=promotion.promote(model=model, actor=request.user))


class RewardModelRollback(APIView):
    """Back to the version before."""

    @extend_schema(request=None, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Make the version current that this one replaced; 409 when this is not the current one. For managers."""
        model = get_owned(request.user, RewardModel.objects.all(), id, Role.MANAGER)
        return accepted(job=promotion.roll_back(model=model, actor=request.user))


class RewardModelEvaluations(ListView):
    """What a version was measured on, for managers and researchers."""

    serializer_class = EvaluationSerializer
    filters = {"benchmark": Filter("benchmark", choices=Evaluation.Benchmark.values)}
    parser_classes = (*GenericAPIView.parser_classes, MultiPartParser)

    def get_queryset(self) -> QuerySet[Evaluation]:
        """Return the evaluations of the version."""
        model = get_owned(self.request.user, RewardModel.objects.all(), self.kwargs["id"], *SEES_RESULTS)
        return model.evaluations.all()

    @extend_schema(
        request={"application/json": NewEvaluationSerializer, "multipart/form-data": BenchmarkFileSerializer},
        responses={202: AcceptedSerializer},
    )
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Measure a version on its held-out prompts, or on a benchmark: a file, an upload, a path or a dataset."""
        model = get_owned(request.user, RewardModel.objects.all(), id, *SEES_RESULTS)
        if str(request.content_type).startswith(MultiPartParser.media_type):
            form = BenchmarkFileSerializer(data=request.data)
            form.is_valid(raise_exception=True)
            file = form.validated_data["file"]
            given = {"benchmark": form.validated_data["benchmark"], "file": file, "file_name": file.name}
        else:
            body = NewEvaluationSerializer(data=request.data)
            body.is_valid(raise_exception=True)
            given = dict(body.validated_data)
            given["upload_id"] = given.pop("upload", None)
        return accepted(job=start_evaluation(model=model, created_by=request.user, **given))


class EvaluationDetail(APIView):
    """One evaluation."""

    @extend_schema(responses=EvaluationSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return what was measured; for managers and researchers of its project."""
        return Response(EvaluationSerializer(get_owned(request.user, Evaluation.objects.all(), id, *SEES_RESULTS)).data)


class RewardModelCard(APIView):
    """The model card of a version."""

    @extend_schema(
        responses={(200, MARKDOWN): OpenApiResponse(OpenApiTypes.STR, description="Markdown with metadata.")}
    )
    def get(self, request: SignedInRequest, id: str) -> PlainResponse:
        """Return the card, its `model-index` with the latest figures of every benchmark."""
        model = get_owned(request.user, RewardModel.objects.all(), id, *SEES_RESULTS)
        return PlainResponse(card_of(model), content_type=f"{MARKDOWN}; charset=utf-8")


class RetrainPolicyDetail(APIView):
    """When a project retrains, and what promotes."""

    @extend_schema(responses=RetrainPolicySerializer)
    def get(self, request: SignedInRequest, slug: str) -> Response:
        """Return the policy; the defaults where none was set."""
        project = get_project(request.user, slug, *SEES_RESULTS)
        return Response(RetrainPolicySerializer(services.policy_of(project)).data)

    @extend_schema(request=RetrainPolicySerializer, responses=RetrainPolicySerializer)
    def patch(self, request: SignedInRequest, slug: str) -> Response:
        """Change some of its fields. For managers."""
        project = get_project(request.user, slug, Role.MANAGER)
        before = services.policy_of(project)
        body = RetrainPolicySerializer(before, data=request.data, partial=True)
        body.is_valid(raise_exception=True)
        kept = {name: getattr(before, name) for name in services.POLICY_FIELDS}
        changed = services.save_policy(project=project, actor=request.user, **{**kept, **body.validated_data})
        return Response(RetrainPolicySerializer(changed).data)


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
        response.headers["ETag"] = etag_by("archive", model.pk, model.folder, archive.size)
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
