"""Rule sets: found, edited, switched on, measured."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import numpy as np
from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import Conflict, FieldError, InvalidInput
from apps.jobs.models import Job
from apps.jobs.services import Claim, enqueue, storing, succeed
from apps.labeling.models import Consensus
from apps.projects.models import Project
from apps.projects.services import record
from apps.prompts.models import json_hash
from apps.quality.services import expect_sides
from apps.rules.labeled import LabeledPair, labeled_pairs
from apps.rules.models import Kind, Rule, RuleExtraction, RuleSet
from apps.rules.verification import bind_verifier, check_responses, may_check, read_rules
from apps.signals.models import Scorer
from apps.signals.services import run_scorer
from worker.core.consensus import Status
from worker.core.rules.figures import as_json
from worker.core.rules.mining import Mined
from worker.core.rules.rewards import MAX_WEIGHT
from worker.core.rules.statements import MeasuredRule, sentence_hash
from worker.core.rules.units import DISCOVERY, SELECTION, TEST, Labels

MIN_LABELS = 30
"""With fewer labeled pairs nothing can be told from chance."""
MAX_RULES = 200
MAX_SENTENCE = 1000
MOST_SOURCES = 100
PART_NAMES = {"discovery": DISCOVERY, "selection": SELECTION, "test": TEST}


@dataclass(frozen=True)
class ProposedRule:
    """A rule on its way into a set: a measured one has a property, another one a text."""

    text: str = ""
    property: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    weight: float = 1.0
    support: int = 0
    agreement: float | None = None
    interval: tuple[float, float] | None = None
    sources: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)


def minable_labels(project: Project) -> int:
    """Return how many comparisons have a consensus that prefers one response."""
    return Consensus.objects.filter(project=project, status=Status.AGREED).exclude(preference=0).count()


@transaction.atomic
def start_mining(
    *, project: Project, options: dict[str, Any], seed: int = 0, created_by: User | None = None
) -> RuleExtraction:
    """Start the miner on the project's labels; asked for twice it is one run."""
    labels = minable_labels(project)
    if labels < MIN_LABELS:
        raise Conflict(
            _("The project has %(labels)s labels that prefer a response; the miner starts at %(least)s.")
            % {"labels": labels, "least": MIN_LABELS}
        )
    return start_extraction(
        project=project, origin=RuleSet.Origin.MINER, options=options, seed=seed, created_by=created_by
    )


@transaction.atomic
def start_extraction(
    *,
    project: Project,
    origin: str,
    options: dict[str, Any],
    seed: int,
    created_by: User | None,
    kind: str = "rule_extraction",
) -> RuleExtraction:
    """Make an extraction with its job, or return the unfinished one of the project that was asked for the same.

    Raises Conflict while one with other settings is unfinished.
    """
    job = enqueue(kind=kind, project=project, inputs={}, created_by=created_by, key="rule-extraction")
    if (unfinished := RuleExtraction.objects.filter(job=job).first()) is not None:
        if (unfinished.origin, unfinished.options, unfinished.seed) != (origin, options, seed):
            raise Conflict(_("Another search for rules is not finished in this project: wait for it, or cancel it."))
        return unfinished
    return RuleExtraction.objects.create(
        project=project, origin=origin, options=options, seed=seed, job=job, created_by=created_by
    )


@transaction.atomic
def create_rule_set(
    *,
    project: Project,
    origin: str,
    rules: Sequence[ProposedRule],
    options: dict[str, Any],
    created_by: User | None,
    parent: RuleSet | None = None,
    figures: dict[str, Any] | None = None,
) -> RuleSet:
    """Store the project's next version as a draft, with its rules in this order; the project's row is the lock."""
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    newest = RuleSet.objects.filter(project=project).aggregate(Max("version"))["version__max"] or 0
    made = RuleSet.objects.create(
        project=project,
        version=newest + 1,
        origin=origin,
        parent=parent,
        options=options,
        figures=figures or {},
        measured_at=parent.measured_at if parent else timezone.now() if figures else None,
        changed_at=parent.changed_at if parent else None,
        verifier=parent.verifier if parent else "",
        endpoint=parent.endpoint if parent else None,
        created_by=created_by,
    )
    Rule.objects.bulk_create([_rule(made, number, each) for number, each in enumerate(rules, start=1)])
    return made


@transaction.atomic
def activate(
    *, rule_set: RuleSet, actor: User | None, endpoint: str = "", reward: Mapping[str, float] | None = None
) -> Job:
    """Switch a set on: what was not rejected is kept, the set before it is retired, and every response is scored.

    Rules that a language model reads need one that keeps checking responses: `endpoint`, of the person who activates,
    or the one that has checked them for this set. The job is then that of checking, which scores and measures after.
    `reward` may set `reward_weight` and `reward_offset` of the rule reward, before a set is active for the first time.
    """
    project = Project.objects.select_for_update(no_key=True).get(pk=rule_set.project_id)
    rule_set = RuleSet.objects.select_related("project", "endpoint__owner").get(pk=rule_set.pk)
    if rule_set.state == RuleSet.State.ACTIVE:
        raise Conflict(_("This rule set is active already."))
    if not rule_set.rules.exclude(state=Rule.State.REJECTED).exists():
        raise Conflict(_("A rule set without rules cannot be active: every one of its rules is rejected."))
    if endpoint and actor is not None:
        rule_set = bind_verifier(rule_set=rule_set, endpoint=endpoint, actor=actor)
    read = bool(read_rules(rule_set))
    if read and not may_check(rule_set):
        detail = _("A language model reads rules of this set: name the one that checks responses against them.")
        raise InvalidInput(detail, [FieldError("/endpoint", detail)])
    if reward:
        _set_reward(rule_set, reward)
    rule_set.rules.filter(state=Rule.State.PROPOSED).update(state=Rule.State.KEPT)
    RuleSet.objects.filter(project=project, state=RuleSet.State.ACTIVE).update(state=RuleSet.State.RETIRED)
    if rule_set.scorer is None:
        rule_set.scorer = Scorer.objects.create(
            project=project,
            name=f"Rule set {rule_set.version}",
            kind=Scorer.Kind.RULE_SET,
            config={
                "rule_set": rule_set.pk,
                "version": rule_set.version,
                "verifier": rule_set.verifier,
                **frozen_rules(rule_set),
            },
        )
    Scorer.objects.filter(project=project, kind=Scorer.Kind.RULE_SET).update(keeps_up=False)
    Scorer.objects.filter(pk=rule_set.scorer.pk).update(keeps_up=True)
    rule_set.state, rule_set.activated_at = RuleSet.State.ACTIVE, timezone.now()
    rule_set.save(update_fields=["state", "activated_at", "scorer", "options"])
    record(project=project, actor=actor, verb="activated a rule set", version=rule_set.version)
    start_measuring(rule_set=rule_set, created_by=actor)
    scoring = run_scorer(scorer=rule_set.scorer, created_by=actor)
    return check_responses(rule_set=rule_set, created_by=actor) if read else scoring


def wrong_reward(reward: Mapping[str, float]) -> list[FieldError]:
    """Return what is wrong with the weight and the offset of a rule reward."""
    most = {"reward_weight": MAX_WEIGHT, "reward_offset": 1.0}
    said = _("Expected a number from 0 to %(most)s.")
    return [
        FieldError(f"/{name}", said % {"most": f"{most[name]:g}"})
        for name, value in reward.items()
        if not 0 <= value <= most[name]
    ]


def _set_reward(rule_set: RuleSet, reward: Mapping[str, float]) -> None:
    if rule_set.scorer_id is not None:
        raise Conflict(_("A version that was active never changes, and its settings neither."))
    if errors := wrong_reward(reward):
        raise InvalidInput(_("The settings are not valid."), errors)
    rule_set.options = {**rule_set.options, **reward}


def frozen_rules(rule_set: RuleSet) -> dict[str, Any]:
    """Return the kept rules of a set and what hashes them, for whoever reads scores without the set."""
    kept = rule_set.rules.filter(state=Rule.State.KEPT).order_by("number")
    frozen = {
        "rules": list(kept.values("number", "kind", "text", "weight")),
        "not_applicable_is_yes": bool(rule_set.options.get("not_applicable_is_yes", False)),
    }
    return {**frozen, "sha256": json_hash(frozen)}


def start_measuring(*, rule_set: RuleSet, created_by: User | None = None) -> Job:
    """Start a job that measures every rule of the set on the labels of now; asking twice is one job."""
    return enqueue(
        kind="rule_figures",
        project=rule_set.project,
        inputs={"rule_set": rule_set.pk},
        created_by=created_by,
        key=f"rule-figures-{rule_set.pk}",
    )


def freeze_labels(*, extraction: RuleExtraction, claim: Claim) -> RuleExtraction:
    """Keep what people prefer now, so that a run that dies and begins again finds the same rules."""
    with storing(claim):
        if extraction.stage == RuleExtraction.Stage.SELECT:
            pairs = labeled_pairs(extraction.project, seed=extraction.seed)
            extraction.labels = [[pair.comparison, pair.preference] for pair in pairs]
            extraction.counts = {"pairs": len(pairs)}
            extraction.stage = RuleExtraction.Stage.MINE
            extraction.save(update_fields=["labels", "counts", "stage"])
    return extraction


def store_mined(
    *, extraction: RuleExtraction, claim: Claim, mined: Mined, pairs: Sequence[LabeledPair], labels: Labels
) -> RuleSet:
    """Store what the miner found as a draft, and finish the job with it; all under the job's lock."""
    parts = {name: int((labels.part == part).sum()) for name, part in PART_NAMES.items()}
    test = np.flatnonzero(labels.part == TEST).tolist()
    proposed = []
    for at, (rule, found) in enumerate(zip(mined.rules, mined.found, strict=True)):
        agreement, votes = mined.agreement[at], mined.votes[:, at]
        agrees = [pairs[place].comparison for place in test if votes[place] == labels.side[place]]
        proposed.append(
            ProposedRule(
                property=rule.name,
                parameters=rule.parameters,
                weight=found.weight,
                support=agreement.of,
                agreement=agreement.share,
                interval=agreement.interval,
                sources={"comparisons": agrees[:MOST_SOURCES]},
                figures={"probability": found.probability, "discovered": as_json(mined.discovered[at])},
            )
        )
    figures = {
        "pairs": len(pairs),
        "held_out": as_json(mined.accuracy),
        "length": as_json(mined.length_accuracy),
        "gain_over_length": mined.gain and [*mined.gain],
    }
    with storing(claim):
        rule_set = create_rule_set(
            project=extraction.project,
            origin=RuleSet.Origin.MINER,
            rules=proposed,
            options={**extraction.options, "seed": extraction.seed, "by_prompt": labels.by_prompt},
            figures=figures,
            created_by=extraction.created_by,
        )
        extraction.counts = {
            "pairs": len(pairs),
            **parts,
            "tested": mined.tested,
            "significant": mined.significant,
            "found": len(proposed),
        }
        extraction.stage, extraction.rule_set = RuleExtraction.Stage.DONE, rule_set
        extraction.save(update_fields=["counts", "stage", "rule_set"])
        if proposed:
            start_measuring(rule_set=rule_set, created_by=extraction.created_by)
        succeed(claim, result={"rule_set": str(rule_set.pk), "rules": len(proposed)})
    return rule_set


def store_figures(
    *,
    rule_set: RuleSet,
    claim: Claim,
    rules: Sequence[Rule],
    figures: Sequence[dict[str, Any]],
    of_set: dict[str, Any],
    expected: Mapping[int, int],
    began: datetime,
) -> None:
    """Store what was measured of the rules of a set, and finish the job; a rule edited meanwhile keeps none.

    Where verdicts or rules changed since it `began`, it is measured once more. What an active set expects of
    comparisons becomes a yardstick of the annotators' figures.
    """
    with storing(claim):
        for rule, measured in zip(rules, figures, strict=True):
            held_out = measured["held_out"]
            low, high = held_out["interval"] or (None, None)
            Rule.objects.filter(pk=rule.pk, statement_hash=rule.statement_hash).update(
                support=held_out["of"],
                agreement=held_out["share"],
                agreement_low=low,
                agreement_high=high,
                figures={**rule.figures, **measured},
            )
        found = RuleSet.objects.select_for_update().get(pk=rule_set.pk)
        if found.state == RuleSet.State.ACTIVE:
            expect_sides(project=found.project, sides=expected)
        found.figures = {**found.figures, **of_set}
        found.measured_at = began
        found.save(update_fields=["figures", "measured_at"])
        succeed(claim, result={"rule_set": str(rule_set.pk), "pairs": of_set["pairs"]})
        if found.stale:
            start_measuring(rule_set=found)


def _rule(rule_set: RuleSet, number: int, proposed: ProposedRule) -> Rule:
    if proposed.property:
        measured = MeasuredRule.from_parameters(proposed.property, proposed.parameters)
        kind, text, statement = Kind.PROGRAMMATIC, measured.text, measured.statement_hash
    else:
        kind, text, statement = Kind.LANGUAGE_MODEL, proposed.text, sentence_hash(proposed.text)
    low, high = proposed.interval or (None, None)
    return Rule(
        rule_set=rule_set,
        number=number,
        text=text,
        kind=kind,
        property=proposed.property,
        parameters=proposed.parameters,
        statement_hash=statement,
        weight=proposed.weight,
        support=proposed.support,
        agreement=proposed.agreement,
        agreement_low=low,
        agreement_high=high,
        sources=proposed.sources,
        figures=proposed.figures,
    )
