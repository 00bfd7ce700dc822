"""Rules from a language model: interpret choices, propose rules, merge them; every step is stored and goes on."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any, TypeVar

from celery import shared_task
from django.db.models import F

from apps.endpoints.asking import Found, Wanted
from apps.jobs.services import storing, succeed
from apps.rules import extraction as rules
from apps.rules.models import ExtractionItem, ExtractionMerge, RuleExtraction
from worker.core import rule_prompts
from worker.core.llm.messages import Answer
from worker.core.llm.reading import Unreadable
from worker.tasks.language_models import Asking
from worker.tasks.running import Held, JobFailed, run_job

Stage = RuleExtraction.Stage
Value = TypeVar("Value")
ROUNDS = 2
"""How often a comparison is tried in each stage; the second time is another sample of the same question."""


@shared_task(name="tiebreak.read_rules")
def read_rules(job_id: int) -> None:
    """Extract rules with the model of a server."""
    run_job(job_id, _read)


@shared_task(name="tiebreak.read_rules_here")
def read_rules_here(job_id: int) -> None:
    """Extract rules with a model in this gpu worker."""
    run_job(job_id, _read)


def _read(held: Held) -> None:
    extraction = RuleExtraction.objects.select_related("project", "created_by").get(job=held.job)
    asking = Asking(held, extraction.options["endpoint"], purpose="rules")
    if extraction.stage == Stage.SELECT:
        with storing(held.claim):
            rules.choose(extraction=extraction)
    if extraction.stage == Stage.INTERPRET:
        _interpret(asking, extraction)
        _go_to(held, extraction, Stage.CANDIDATES)
    if extraction.stage == Stage.CANDIDATES:
        _propose(asking, extraction)
        _go_to(held, extraction, Stage.MERGE)
    entries = _merge(asking, extraction)
    with storing(held.claim):
        rule_set = rules.store_rules(extraction=extraction, entries=entries)
        succeed(held.claim, result={"rule_set": str(rule_set.pk), **extraction.counts})


def _interpret(asking: Asking, extraction: RuleExtraction) -> None:
    most = asking.endpoint.max_answer_tokens
    shown: dict[int, Any] = {}

    def question(item: ExtractionItem, choice: rule_prompts.Choice) -> Wanted[Answer]:
        shown[item.pk] = item.asked
        asked = rule_prompts.interpret(choice, max_tokens=most)
        return Wanted(item.pk, replace(asked, repetition=item.rounds), _something)

    def store(found: Found[Answer]) -> dict[str, Any]:
        said = {"reasoning": found.value.reasoning, "answer": found.value.text} if found.value else {}
        return {"asked": shown.pop(found.key), **said}

    _each(asking, extraction, extraction.items.filter(reasoning="", answer=""), question, store, "interpreted")
    if not extraction.items.exclude(reasoning="", answer="").exists():
        raise JobFailed(f"No choice could be interpreted. {_last_error(extraction)}")


def _propose(asking: Asking, extraction: RuleExtraction) -> None:
    most, source = asking.endpoint.max_answer_tokens, extraction.options["source"]
    read_from: dict[int, str] = {}

    def question(item: ExtractionItem, choice: rule_prompts.Choice) -> Wanted[list[str]]:
        text, read_from[item.pk] = rules.explanation(item, source)
        asked = rule_prompts.propose(text, choice, max_tokens=most)
        return Wanted(item.pk, replace(asked, repetition=item.rounds), rule_prompts.read_candidates)

    def store(found: Found[list[str]]) -> dict[str, Any]:
        name = read_from.pop(found.key)
        return {} if found.value is None else {"candidates": found.value, "read_from": name}

    left = extraction.items.filter(candidates__isnull=True).exclude(reasoning="", answer="")
    _each(asking, extraction, left, question, store, "read")
    if not rules.candidates_of(extraction):
        raise JobFailed(f"No rule was found in what the model said. {_last_error(extraction)}".strip())


def _each(
    asking: Asking,
    extraction: RuleExtraction,
    left: Any,
    question: Callable[[ExtractionItem, rule_prompts.Choice], Wanted[Value]],
    store: Callable[[Found[Value]], dict[str, Any]],
    verb: str,
) -> None:
    """Ask about each comparison that is left and store what came, with its error or without one."""
    total = extraction.items.count()
    for tried in range(ROUNDS):
        done = total - left.count()
        pairs = rules.choices(left.filter(rounds=tried))
        for found in asking.ask(question(item, choice) for item, choice in pairs):
            changes = {**store(found), "error": found.error, "attempts": F("attempts") + found.calls}
            if found.error:
                changes["rounds"] = tried + 1
            with storing(asking.held.claim):
                ExtractionItem.objects.filter(pk=found.key).update(**changes)
            done += 1
            asking.held.progress(min(done, total), total, f"{min(done, total)} of {total} choices {verb}")


def _merge(asking: Asking, extraction: RuleExtraction) -> list[dict[str, Any]]:
    """Merge group by group and level by level, until one merge has seen everything or nothing becomes fewer."""
    entries = rules.candidates_of(extraction)
    for level in range(rules.MAX_LEVELS if len(entries) > 1 else 0):
        merges = [
            ExtractionMerge.objects.get_or_create(
                extraction=extraction, level=level, number=number, defaults={"inputs": group}
            )[0]
            for number, group in enumerate(rules.groups_of(entries, level))
        ]
        _merge_groups(asking, level, merges)
        if all(merge.rules is None for merge in merges):
            if level == 0 and len(merges) > 1:
                raise JobFailed(f"No merge could be read, so the candidates stay apart. {merges[-1].error}")
            break
        before = len(entries)
        entries = [entry for merge in merges for entry in (merge.inputs if merge.rules is None else merge.rules)]
        if len(merges) == 1 or (level and len(entries) >= before):
            break
    return entries


def _merge_groups(asking: Asking, level: int, merges: list[ExtractionMerge]) -> None:
    most = asking.endpoint.max_answer_tokens
    left = {merge.pk: merge for merge in merges if merge.rules is None and not merge.error}

    def question(merge: ExtractionMerge) -> Wanted[list[rule_prompts.Merged]]:
        texts = [entry["text"] for entry in merge.inputs]
        return Wanted(
            merge.pk,
            rule_prompts.merge(texts, max_tokens=most),
            lambda answer: rule_prompts.read_merged(answer, count=len(texts)),
        )

    done = len(merges) - len(left)
    for found in asking.ask(question(merge) for merge in left.values()):
        with storing(asking.held.claim):
            rules.store_merge(merge=left[found.key], merged=found.value, error=found.error)
        done += 1
        asking.held.progress(done, len(merges), f"Merging, round {level + 1}: {done} of {len(merges)} groups")


def _go_to(held: Held, extraction: RuleExtraction, stage: str) -> None:
    extraction.stage, extraction.counts = stage, rules.counts_of(extraction)
    with storing(held.claim):
        extraction.save(update_fields=["stage", "counts"])
        extraction.items.update(rounds=0)


def _something(answer: Answer) -> Answer:
    if not answer.text and not answer.reasoning:
        raise Unreadable("It was empty.")
    return answer


def _last_error(extraction: RuleExtraction) -> str:
    return extraction.items.exclude(error="").order_by("-number").values_list("error", flat=True).first() or ""
