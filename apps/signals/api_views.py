"""REST: comparisons with what people and machines say about them, scorers, signals."""

from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.accounts.models import User
from apps.core.api_views import Filter, ListView
from apps.core.errors import FieldError, InvalidInput
from apps.core.selection import selected_fields
from apps.jobs.api_views import accepted
from apps.jobs.serializers import AcceptedSerializer
from apps.labeling.models import QueueItem
from apps.labeling.oversight import answers_open_to
from apps.projects.access import SEES_RESULTS, Role, get_membership, get_owned, get_project
from apps.projects.api_views import ProjectDetail as ProjectWithoutQueue
from apps.projects.models import Membership, Project
from apps.prompts.models import Comparison
from apps.signals import services
from apps.signals.models import Scorer, Signal
from apps.signals.serializers import (
    ComparisonDetailSerializer,
    ComparisonSerializer,
    NewScorerSerializer,
    ScorerSerializer,
    SignalSerializer,
)
from worker.core.lengths import UNITS
from worker.core.shaping import SHAPERS

SHAPING = OpenApiParameter("shaping", str, enum=list(SHAPERS), description="How raw values are shaped.")
SEES_COMPARISONS = (Role.MANAGER, Role.REVIEWER, Role.RESEARCHER)


def _with_what_is_open(comparisons: QuerySet[Comparison], membership: Membership) -> QuerySet[Comparison]:
    """Annotate, for reviewers, whether they may see the consensus: they label, too, and speak first."""
    if membership.role in SEES_RESULTS:
        return comparisons
    may_see = ExpressionWrapper(answers_open_to(membership), output_field=BooleanField())
    return comparisons.annotate(answers_open=may_see)


class ProjectDetail(ProjectWithoutQueue):
    """One project."""

    def change(self, project: Project, actor: User, changes: dict[str, Any]) -> None:
        """Change the project, and put the waiting pairs into a changed order."""
        order, share = changes.pop("queue_order", project.queue_order), changes.pop("random_share", None)
        share = project.random_share if share is None else share
        if changes:
            super().change(project, actor, changes)
        if (order, share) != (project.queue_order, project.random_share):
            services.choose_queue(project=project, actor=actor, queue_order=order, random_share=share)

    def after_change(self, project: Project, changes: dict[str, Any]) -> None:
        """Put the waiting pairs into the order that was chosen, a chunk at a time."""
        if {"queue_order", "random_share"} & changes.keys():
            project.refresh_from_db()
            services.order_queue(project=project)


class ComparisonList(ListView):
    """The comparisons of a project with their consensus; for managers, reviewers and researchers."""

    serializer_class = ComparisonSerializer
    filters = {
        "state": Filter("queue_item__state", choices=QueueItem.State.values),
        "external_id": Filter("external_id"),
    }
    signals: dict[str, Any] = {}

    def get_queryset(self) -> QuerySet[Comparison]:
        """Return the comparisons without their texts."""
        membership = get_membership(self.request.user, self.kwargs["slug"], *SEES_COMPARISONS)
        self.membership = membership
        rows = _with_what_is_open(Comparison.objects.filter(project=membership.project), membership)
        return rows.select_related("queue_item", "consensus").defer("reference", "metadata")

    def paginate_queryset(self, queryset: Any) -> Any:
        """Return a page, and look up its signals for those who may see them and want to (two queries)."""
        page = super().paginate_queryset(queryset)
        names = selected_fields(self.request._request)
        if self.membership.role in SEES_RESULTS and (names is None or "signals" in names):
            self.signals = _queue_signals(self.membership.project, page or [])
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """Add the signals of the page."""
        return {**super().get_serializer_context(), **self.signals}


class ComparisonDetail(APIView):
    """One comparison with its texts."""

    @extend_schema(operation_id="projects_comparisons_retrieve", responses=ComparisonDetailSerializer)
    def get(self, request: SignedInRequest, slug: str, id: str) -> Response:
        """Return a comparison with conversation, responses, metadata and consensus."""
        membership = get_membership(request.user, slug, *SEES_COMPARISONS)
        comparisons = _with_what_is_open(Comparison.objects.filter(project=membership.project), membership)
        comparisons = comparisons.select_related("queue_item", "consensus", "prompt", "response_1", "response_2")
        comparison = get_owned(request.user, comparisons, id, *SEES_COMPARISONS)
        sees_signals = membership.role in SEES_RESULTS
        context = _queue_signals(membership.project, [comparison]) if sees_signals else {}
        return Response(ComparisonDetailSerializer(comparison, context=context).data)


class ScorerList(ListView):
    """The scorers of a project, for managers and researchers."""

    serializer_class = ScorerSerializer

    def get_queryset(self) -> QuerySet[Scorer]:
        """Return the scorers of the project."""
        return get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS).scorers.all()

    @extend_schema(request=NewScorerSerializer, responses={201: ScorerSerializer})
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Configure a scorer that needs no labels: the length of a response, the baseline that longer ones win.

        `scorers/{id}/run/` then scores. Training makes the other scorers.
        """
        project = get_project(request.user, slug, *SEES_RESULTS)
        body = NewScorerSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        kind, unit = body.validated_data["kind"], body.validated_data.get("unit", UNITS[0])
        if kind != Scorer.Kind.LENGTH:
            raise InvalidInput("A scorer like this cannot be configured.", [FieldError("/kind", _why_not(kind))])
        scorer = services.create_length_scorer(
            project=project,
            unit=unit,
            name=body.validated_data.get("name") or f"Length in {unit}",
            created_by=request.user,
        )
        return Response(ScorerSerializer(scorer).data, status=201)


class ScorerRun(APIView):
    """Scoring."""

    @extend_schema(request=None, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Score every response that the scorer has not scored yet; asking twice is one job."""
        scorer = get_owned(request.user, Scorer.objects.all(), id, *SEES_RESULTS)
        return accepted(job=services.run_scorer(scorer=scorer, created_by=request.user))


class SignalList(ListView):
    """The signals of a project, raw and shaped, with the version of their scorer; for managers and researchers."""

    serializer_class = SignalSerializer
    shaped: dict[int, float] = {}
    filters = {"scorer": Filter("scorer_id", is_id=True), "response": Filter("response_id", is_id=True)}

    @extend_schema(parameters=[SHAPING])
    def get(self, request: Any, *args: Any, **kwargs: Any) -> Response:
        """Return a page of signals; `shaping` adds that form of each."""
        return super().get(request, *args, **kwargs)

    def get_queryset(self) -> QuerySet[Signal]:
        """Return the signals with their scorers, and with the prompts of their responses."""
        project = get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS)
        signals = Signal.objects.of_project(project).select_related("scorer", "response")
        return signals.defer("scorer__config", "response__text")

    def paginate_queryset(self, queryset: Any) -> Any:
        """Return a page, and shape its values if they are asked for (one query)."""
        page = super().paginate_queryset(queryset)
        names = selected_fields(self.request._request)
        if names is None or "shaped" in names:
            self.shaped = services.shaped_values(page or [])
        return page

    def get_serializer_context(self) -> dict[str, Any]:
        """Add the shaped values of the page, and the shape that was asked for."""
        context = {**super().get_serializer_context(), "shaped": self.shaped}
        name = self.request.query_params.get("shaping")
        return {**context, "shaper": services.shaper_named(name)} if name else context


def _why_not(kind: str) -> str:
    if kind == Scorer.Kind.RULE_SET:
        return "Activating a rule set makes its scorer."
    if kind in Scorer.Kind.values:
        return "Training makes these scorers: start a training run, and promote the version that comes out."
    return f"There is no such kind of scorer; the kind that can be configured is {Scorer.Kind.LENGTH.value}."


def _queue_signals(project: Project, comparisons: list[Comparison]) -> dict[str, Any]:
    """Return the scorer that orders the queue and its values for the responses of these comparisons."""
    scorer = Scorer.objects.filter(project=project, orders_queue=True).first()
    responses = {pk for row in comparisons for pk in (row.response_1_id, row.response_2_id)}
    rows = Signal.objects.filter(scorer=scorer, response__in=responses) if scorer else Signal.objects.none()
    return {"scorer": scorer, "values": dict(rows.values_list("response_id", "value"))}
