"""REST: extractions, rule sets and rules."""

from django.db.models import QuerySet
from django.http import HttpResponseBase, StreamingHttpResponse
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import OpenApiResponse, extend_schema
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest
from apps.core.api_views import Filter, ListView
from apps.core.errors import Conflict, NotFound
from apps.jobs.api_views import accepted
from apps.jobs.serializers import AcceptedSerializer
from apps.projects.access import SEES_RESULTS, Role, get_owned, get_project, is_id
from apps.rules import services
from apps.rules.downloads import verdict_lines
from apps.rules.editing import edit_rule
from apps.rules.extraction import Selection, start_reading
from apps.rules.models import ExtractionItem, ExtractionMerge, Rule, RuleExtraction, RuleSet
from apps.rules.serializers import (
    ExtractionItemSerializer,
    ExtractionMergeSerializer,
    NewRuleExtractionSerializer,
    NewVerificationSerializer,
    RuleChangesSerializer,
    RuleDetailSerializer,
    RuleExtractionSerializer,
    RuleSetActivationSerializer,
    RuleSetDetailSerializer,
    RuleSetSerializer,
)
from apps.rules.verification import start_verification

JSON_LINES = "application/x-ndjson"


class RuleExtractionList(ListView):
    """The runs that looked for rules, for managers and researchers."""

    serializer_class = RuleExtractionSerializer

    def get_queryset(self) -> QuerySet[RuleExtraction]:
        """Return the extractions with their jobs."""
        project = get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS)
        return project.rule_extractions.select_related("job").defer("labels")

    @extend_schema(request=NewRuleExtractionSerializer, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Look for rules; the job's result is `{"rule_set": id}`. The same asked twice is one job.

        409 while a search with other settings is not finished.
        """
        project = get_project(request.user, slug, *SEES_RESULTS)
        body = NewRuleExtractionSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        values = dict(body.validated_data)
        seed, endpoint = values.pop("seed"), values.pop("endpoint", None)
        if endpoint is None:
            options = {"miner": values["miner"]}
            made = services.start_mining(project=project, options=options, seed=seed, created_by=request.user)
        else:
            selection = Selection(**values)
            made = start_reading(
                project=project, endpoint=endpoint, selection=selection, seed=seed, created_by=request.user
            )
        return accepted(job=made.job, created=made)


class RuleExtractionItems(ListView):
    """What a language model made of each comparison of an extraction, for managers and researchers."""

    serializer_class = ExtractionItemSerializer

    def get_queryset(self) -> QuerySet[ExtractionItem]:
        """Return the comparisons of the extraction."""
        extraction = get_owned(self.request.user, _extractions(), self.kwargs["id"], *SEES_RESULTS)
        return extraction.items.select_related("comparison").defer("comparison__reference", "comparison__metadata")


class RuleExtractionMerges(ListView):
    """How the candidates of an extraction were merged, for managers and researchers."""

    serializer_class = ExtractionMergeSerializer

    def get_queryset(self) -> QuerySet[ExtractionMerge]:
        """Return the merges of the extraction."""
        extraction = get_owned(self.request.user, _extractions(), self.kwargs["id"], *SEES_RESULTS)
        return extraction.merges.all()


class RuleSetList(ListView):
    """The versions of a project's rules, for managers and researchers."""

    serializer_class = RuleSetSerializer
    filters = {"state": Filter("state", choices=RuleSet.State.values)}

    def get_queryset(self) -> QuerySet[RuleSet]:
        """Return the versions of the project."""
        project = get_project(self.request.user, self.kwargs["slug"], *SEES_RESULTS)
        return project.rule_sets.defer("figures", "options")


class RuleSetDetail(APIView):
    """One version."""

    @extend_schema(responses=RuleSetDetailSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return a version with its rules."""
        rule_set = get_owned(request.user, RuleSet.objects.all(), id, *SEES_RESULTS)
        return Response(RuleSetDetailSerializer(rule_set).data)


class RuleSetActivate(APIView):
    """Switching on."""

    @extend_schema(request=RuleSetActivationSerializer, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Make this the active version and score every response by it; 409 when it is already. For managers.

        With rules that a language model reads, the job checks responses first, and scoring follows.
        """
        rule_set = get_owned(request.user, RuleSet.objects.all(), id, Role.MANAGER)
        body = RuleSetActivationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        reward = dict(body.validated_data)
        endpoint = reward.pop("endpoint", "")
        job = services.activate(rule_set=rule_set, actor=request.user, endpoint=endpoint, reward=reward)
        return accepted(job=job, created=rule_set)


class RuleSetVerdicts(APIView):
    """The verdicts as a file."""

    @extend_schema(responses={(200, JSON_LINES): OpenApiResponse(OpenApiTypes.STR, description="A line a comparison.")})
    def get(self, request: SignedInRequest, id: str) -> HttpResponseBase:
        """Stream what the rules of a version say about both responses of every comparison, as JSON lines."""
        rule_set = get_owned(request.user, RuleSet.objects.all(), id, *SEES_RESULTS)
        if rule_set.scorer_id is None:
            raise Conflict("This version was never active, so nothing is scored by it.")
        reply = StreamingHttpResponse(verdict_lines(rule_set), content_type=JSON_LINES)
        name = f"{rule_set.project.slug}-rules-{rule_set.version}.jsonl"
        reply.headers["Content-Disposition"] = f'attachment; filename="{name}"'
        return reply


class RuleSetMeasure(APIView):
    """Measuring."""

    @extend_schema(request=None, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Measure every rule of a version on the labels of now; asking twice is one job."""
        rule_set = get_owned(request.user, RuleSet.objects.all(), id, *SEES_RESULTS)
        return accepted(job=services.start_measuring(rule_set=rule_set, created_by=request.user), created=rule_set)


class RuleSetVerify(APIView):
    """Checking with a language model."""

    @extend_schema(request=NewVerificationSerializer, responses={202: AcceptedSerializer})
    def post(self, request: SignedInRequest, id: str) -> Response:
        """Check every response against the set's read rules with a model of yours; what has a verdict keeps it."""
        rule_set = get_owned(request.user, RuleSet.objects.all(), id, *SEES_RESULTS)
        body = NewVerificationSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        job = start_verification(rule_set=rule_set, created_by=request.user, **body.validated_data)
        return accepted(job=job, created=rule_set)


class RuleDetail(APIView):
    """One rule."""

    @extend_schema(responses=RuleDetailSerializer)
    def get(self, request: SignedInRequest, id: str) -> Response:
        """Return a rule with what was measured of it."""
        return Response(RuleDetailSerializer(_rule(request, id, *SEES_RESULTS)).data)

    @extend_schema(request=RuleChangesSerializer, responses=RuleDetailSerializer)
    def patch(self, request: SignedInRequest, id: str) -> Response:
        """Edit, keep, reject or merge a rule. For managers.

        A version that has been active never changes: the reply is then the changed rule of a new draft.
        """
        rule = _rule(request, id, Role.MANAGER)
        body = RuleChangesSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        changed = edit_rule(rule=rule, actor=request.user, changes=body.validated_data)
        return Response(RuleDetailSerializer(changed).data)


def _extractions() -> QuerySet[RuleExtraction]:
    return RuleExtraction.objects.defer("labels")


def _rule(request: SignedInRequest, rule_id: str, *roles: Role) -> Rule:
    """Return a rule if the person has one of `roles` in the project of its set."""
    missing = NotFound("There is no such rule, or you are not a member of its project.")
    rules = Rule.objects.select_related("rule_set__project", "merged_into")
    rule = rules.filter(pk=rule_id).first() if is_id(rule_id) else None
    if rule is None:
        raise missing
    try:
        get_project(request.user, rule.rule_set.project.slug, *roles)
    except NotFound:
        raise missing from None
    return rule
