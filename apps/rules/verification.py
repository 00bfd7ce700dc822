"""Check responses against rules that a language model reads; each question has one verdict and is asked once."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound
from apps.endpoints.models import ModelEndpoint
from apps.endpoints.services import get_endpoint
from apps.jobs.models import Job
from apps.jobs.services import enqueue
from apps.projects.access import SEES_RESULTS, get_project
from apps.prompts.models import Response
from apps.rules.models import Kind, Rule, RuleSet, Verdict
from worker.core.rule_prompts import VERSION

MAX_REPETITIONS = 5
KINDS = ("verification", "local_verification")
PAGE = 100
"""Responses looked at together: with them, what is known of all their rules."""


@dataclass(frozen=True)
class Check:
    """One question: does this response satisfy this rule."""

    response: Response
    rule: Rule
    repetition: int


def start_verification(*, rule_set: RuleSet, endpoint: str, created_by: User, repetitions: int = 1) -> Job:
    """Start a job that checks every response of the project with a model of the person who starts it.

    From then on this model's verdicts are those of the set: see `bind_verifier`.
    """
    if not 1 <= repetitions <= MAX_REPETITIONS:
        detail = _("Expected a number from %(least)s to %(most)s.") % {"least": 1, "most": MAX_REPETITIONS}
        raise InvalidInput(detail, [FieldError("/repetitions", detail)])
    with transaction.atomic():
        bound = bind_verifier(rule_set=rule_set, endpoint=endpoint, actor=created_by)
        if not read_rules(bound):
            raise Conflict(_("This rule set has no rule that a language model reads."))
        job = check_responses(rule_set=bound, created_by=created_by, repetitions=repetitions)
        if job.inputs["repetitions"] != repetitions:
            raise Conflict(
                _("Another check (%(repetitions)s times each question) is not finished: wait for it, or cancel it.")
                % job.inputs
            )
        return job


@transaction.atomic
def bind_verifier(*, rule_set: RuleSet, endpoint: str, actor: User) -> RuleSet:
    """Make a person's model the one whose verdicts count for a set, and return the set (its row is locked).

    A set that was ever active keeps its verifier; the same model by another key is the same verifier.
    """
    try:
        model = get_endpoint(actor, endpoint)
    except NotFound as error:
        raise InvalidInput(error.detail, [FieldError("/endpoint", error.detail)]) from error
    bound = RuleSet.objects.select_for_update(of=("self",)).select_related("project").get(pk=rule_set.pk)
    verifier = verifier_of(model)
    if bound.scorer_id is not None and bound.verifier not in ("", verifier):
        raise Conflict(
            _("This version scores by the verdicts of %(verifier)s. Edit a rule: another model may check the draft.")
            % {"verifier": bound.verifier}
        )
    if bound.verifier != verifier:
        bound.changed_at = timezone.now()
    bound.verifier, bound.endpoint = verifier, model
    bound.save(update_fields=["verifier", "endpoint", "changed_at"])
    return bound


def may_check(rule_set: RuleSet) -> bool:
    """Say whether a set's own model can be asked: it is there, unchanged, and its owner works in the project."""
    endpoint = rule_set.endpoint
    if endpoint is None or verifier_of(endpoint) != rule_set.verifier or not endpoint.owner.is_active:
        return False
    try:
        get_project(endpoint.owner, rule_set.project.slug, *SEES_RESULTS)
    except (NotFound, Forbidden):
        return False
    return True


def check_what_waits(*, rule_set: RuleSet, newest: int) -> Job | None:
    """Have the model of an active set check the responses that wait for its verdicts; `newest` is the last of them.

    What a run got no answer to is not asked again before something newer waits: a model that fails, or whose costs
    have a ceiling, is not called for ever.
    """
    if rule_set.state != RuleSet.State.ACTIVE or not may_check(rule_set):
        return None
    runs = Job.objects.filter(project=rule_set.project_id, kind__in=KINDS, inputs__rule_set=rule_set.pk)
    last = runs.order_by("-id").first()
    if last is not None and not Response.objects.filter(pk=newest, created_at__gt=last.created_at).exists():
        result = last.result or {"verdicts": 0, "failed": 0}
        if last.state != Job.State.SUCCEEDED or result["failed"] or not result["verdicts"]:
            return None
    return check_responses(rule_set=rule_set)


def check_responses(*, rule_set: RuleSet, created_by: User | None = None, repetitions: int = 1) -> Job:
    """Start checking with the set's own model, in its owner's name unless somebody else asks; once at a time."""
    endpoint = rule_set.endpoint
    if endpoint is None:
        raise Conflict(_("The language model of this rule set is deleted."))
    local = endpoint.kind == ModelEndpoint.Kind.LOCAL
    return enqueue(
        kind=KINDS[local],
        project=rule_set.project,
        inputs={"rule_set": rule_set.pk, "endpoint": endpoint.pk, "repetitions": repetitions},
        created_by=created_by or endpoint.owner,
        key=f"verification-{rule_set.pk}-{endpoint.pk}",
    )


def verifier_of(endpoint: ModelEndpoint) -> str:
    """Return the name of a verifier in its version: the model, where it is, and the version of the prompts."""
    where = hashlib.sha256(endpoint.identity.encode()).hexdigest()[:12]
    return f"{endpoint.model[:60]} {where} prompts-{VERSION}"


def read_rules(rule_set: RuleSet) -> list[Rule]:
    """Return the rules of a set that a language model reads and nobody rejected, each sentence once."""
    rules = rule_set.rules.filter(kind=Kind.LANGUAGE_MODEL).exclude(state=Rule.State.REJECTED).order_by("number")
    return list({rule.statement_hash: rule for rule in rules}.values())


def wanted_verdicts(rule_set: RuleSet, rules: Sequence[Rule], repetitions: int) -> int:
    """Return how many verdicts there are when all is done."""
    return Response.objects.filter(prompt__project=rule_set.project_id).count() * len(rules) * repetitions


def unverified(rule_set: RuleSet, rules: Sequence[Rule], verifier: str, repetitions: int) -> Iterator[Check]:
    """Yield what has no verdict yet, a page of responses at a time (two queries each)."""
    last = 0
    responses = Response.objects.filter(prompt__project=rule_set.project_id).select_related("prompt").order_by("pk")
    hashes = [rule.statement_hash for rule in rules]
    while page := list(responses.filter(pk__gt=last)[:PAGE]):
        last = page[-1].pk
        known = set(
            Verdict.objects.filter(response__in=page, statement_hash__in=hashes, verifier=verifier).values_list(
                "response_id", "statement_hash", "repetition"
            )
        )
        for response in page:
            for rule in rules:
                for repetition in range(repetitions):
                    if (response.pk, rule.statement_hash, repetition) not in known:
                        yield Check(response, rule, repetition)


def store_verdicts(verdicts: Sequence[Verdict]) -> None:
    """Store verdicts; a question that has one keeps it."""
    Verdict.objects.bulk_create(verdicts, ignore_conflicts=True, batch_size=500)


def note_verdicts(rule_set: RuleSet) -> None:
    """Note that there are new verdicts, so that figures from before them are known to be old."""
    RuleSet.objects.filter(pk=rule_set.pk).update(changed_at=timezone.now())
