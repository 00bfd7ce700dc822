"""Verdicts of a language model: a stream of questions of which few are held at a time, however many there are."""

from collections.abc import Iterator

from celery import shared_task

from apps.endpoints.asking import Wanted
from apps.jobs.services import storing, succeed
from apps.rules import verification
from apps.rules.models import RuleSet, Verdict
from apps.rules.services import start_measuring
from apps.rules.verification import Check
from apps.signals.services import run_scorer
from worker.core import rule_prompts
from worker.core.conversation import prompt_text
from worker.tasks.language_models import Asking
from worker.tasks.running import Held, JobFailed, run_job

BATCH = 100
"""Verdicts stored together: what a killed worker reads out of the stored answers again."""
REPEATED = 0.6
"""The temperature from the second repetition on: the first is the verdict, the others say how stable it is."""


@shared_task(name="tiebreak.verify_responses")
def verify_responses(job_id: int) -> None:
    """Check responses with the model of a server."""
    run_job(job_id, _verify)


@shared_task(name="tiebreak.verify_responses_here")
def verify_responses_here(job_id: int) -> None:
    """Check responses with a model in this gpu worker."""
    run_job(job_id, _verify)


def _verify(held: Held) -> None:
    inputs = held.job.inputs
    rule_set = RuleSet.objects.select_related("scorer", "project").get(pk=inputs["rule_set"])
    asking = Asking(held, inputs["endpoint"], purpose="verification")
    verifier, repetitions = verification.verifier_of(asking.endpoint), inputs["repetitions"]
    if verifier != rule_set.verifier:
        raise JobFailed("The language model, or what checks this rule set, was changed. Start the check again.")
    rules = verification.read_rules(rule_set)
    total = verification.wanted_verdicts(rule_set, rules, repetitions)
    open_checks: dict[int, Check] = {}

    def questions() -> Iterator[Wanted[str]]:
        for key, check in enumerate(verification.unverified(rule_set, rules, verifier, repetitions)):
            open_checks[key] = check
            yield _question(key, check)

    made, failed, unreadable, batch = 0, 0, 0, []
    for found in asking.ask(questions()):
        check = open_checks.pop(found.key)
        if found.value is None and found.answer is None:
            failed += 1  # no verdict: the next run asks again
        else:
            unreadable += found.value is None
            batch.append(_verdict(check, verifier, found.value or rule_prompts.UNREADABLE))
        if len(batch) >= BATCH:
            made += _store(held, batch)
            held.progress(made, max(total, made), f"{made} verdicts")
    made += _store(held, batch)
    with storing(held.claim):
        if made:
            verification.note_verdicts(rule_set)
        succeed(held.claim, result={"verdicts": made, "unreadable": unreadable, "failed": failed, "verifier": verifier})
        start_measuring(rule_set=rule_set)
        if rule_set.scorer is not None:
            run_scorer(scorer=rule_set.scorer)


def _question(key: int, check: Check) -> Wanted[str]:
    asked = rule_prompts.verify(
        check.rule.text,
        prompt_text(check.response.prompt.messages),
        check.response.text,
        repetition=check.repetition,
        temperature=REPEATED if check.repetition else 0.0,
    )
    return Wanted(key, asked, rule_prompts.read_verdict)


def _verdict(check: Check, verifier: str, value: str) -> Verdict:
    return Verdict(
        response=check.response,
        statement_hash=check.rule.statement_hash,
        verifier=verifier,
        repetition=check.repetition,
        value=value,
    )


def _store(held: Held, batch: list[Verdict]) -> int:
    """Store the batch, empty it, and return how many it had."""
    count = len(batch)
    with storing(held.claim):
        verification.store_verdicts(batch)
    batch.clear()
    return count
