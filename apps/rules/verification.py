"""Check responses against rules that a language model reads; each question has one verdict and is asked once."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import Conflict, FieldError, InvalidInput, NotFound
from apps.endpoints.models import ModelEndpoint
from apps.endpoints.services import get_endpoint
from apps.jobs.models import Job
from apps.jobs.services import enqueue
from apps.prompts.models import Response
from apps.rules.models import Kind, Rule, RuleSet, Verdict
from worker.core.rule_prompts import VERSION

PAGE = 100
"""Responses looked at together: with them, what is known of all their rules."""


@dataclass(frozen=True)
class Check:
    """One question: does this response satisfy this rule."""

    response: Response
    rule: Rule
    repetition: int


def start_verification(*, rule_set: RuleSet, endpoint: str, created_by: User, repetitions: int = 1) -> Job:
    """Start a job that checks every response of the project with a model of the person who starts it."""
    try:
        model = get_endpoint(created_by, endpoint)
    except NotFound as error:
        raise InvalidInput(error.detail, [FieldError("/endpoint", error.detail)]) from error
    if not read_rules(rule_set):
        raise Conflict(_("This rule set has no rule that a language model reads."))
    local = model.kind == ModelEndpoint.Kind.LOCAL
    return enqueue(
        kind="local_verification" if local else "verification",
        project=rule_set.project,
        inputs={"rule_set": rule_set.pk, "endpoint": model.pk, "repetitions": repetitions},
        created_by=created_by,
        key=f"verification-{rule_set.pk}-{model.pk}",
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
