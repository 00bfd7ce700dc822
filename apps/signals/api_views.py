"""REST: comparisons with what people and machines say about them, scorers, signals."""

from typing import Any

from django.db.models import BooleanField, ExpressionWrapper, QuerySet
from drf_spectacular.utils import extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import Filter, ListView
from apps.core.errors import FieldError, InvalidInput
from apps.core.selection import selected_fields
from apps.jobs.api_views import accepted
from apps.jobs.serializers import AcceptedSerializer
from apps.labeling.models import QueueItem
from apps.labeling.oversight import answers_open_to
from apps.projects.access import SEES_RESULTS, Role, get_membership, get_owned, get_project
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

SEES_COMPARISONS = (Role.MANAGER, Role.REVIEWER, Role.RESEARCHER)


def _with_what_is_open(comparisons: QuerySet[Comparison], membership: Membership) -> QuerySet[Comparison]:
    """Annotate, for reviewers, whether they may see the consensus: they label, too, and speak first."""
    if membership.role in SEES_RESULTS:
        return comparisons
    may_see = ExpressionWrapper(answers_open_to(membership), output_field=BooleanField())
    return comparisons.annotate(answers_open=may_see)


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

    @extend_schema(request=NewScorerSerializer, responses={})
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Refuse, with a sentence: training makes reward models, and activating a rule set makes its scorer."""
        get_project(request.user, slug, *SEES_RESULTS)
        body = NewScorerSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        kind = body.validated_data["kind"]
        if kind == Scorer.Kind.RULE_SET:
            detail = "Activating a rule set makes its scorer."
        elif kind in Scorer.Kind.values:
            detail = "Training makes these scorers: start a training run, and promote the version that comes out."
        else:
            detail = f"There is no such kind of scorer; known is {', '.join(Scorer.Kind.values)}."
        raise InvalidInput("A scorer like this cannot be configured.", [FieldError("/kind", detail)])


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
        """Add the shaped values of the page."""
        return {**super().get_serializer_context(), "shaped": self.shaped}


def _queue_signals(project: Project, comparisons: list[Comparison]) -> dict[str, Any]:
    """Return the scorer that orders the queue and its values for the responses of these comparisons."""
    scorer = Scorer.objects.filter(project=project, orders_queue=True).first()
    responses = {pk for row in comparisons for pk in (row.response_1_id, row.response_2_id)}
    rows = Signal.objects.filter(scorer=scorer, response__in=responses) if scorer else Signal.objects.none()
    return {"scorer": scorer, "values": dict(rows.values_list("response_id", "value"))}
