"""Which version is the current one: decided by the project's rule or by a person, always with its evidence."""

from dataclasses import asdict, dataclass, field
from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import Conflict
from apps.jobs.models import Job
from apps.projects.models import Project
from apps.projects.services import record
from apps.reward_models.models import Evaluation, PromotionDecision, RetrainPolicy, RewardModel
from apps.signals.services import run_scorer, use_for_queue
from apps.webhooks.events import MODEL_PROMOTED
from apps.webhooks.services import emit
from worker.core.promotion import Rule, check_rule


@dataclass(frozen=True)
class Verdict:
    """What a policy says about a version: the outcome with its sentence, and each condition that was applied."""

    promoted: bool
    reason: str
    rule: dict[str, Any] | None = None
    checks: list[dict[str, Any]] = field(default_factory=list)


def decide(
    policy: RetrainPolicy,
    *,
    judged: dict[str, Any] | None,
    judged_against: RewardModel | None,
    current: RewardModel | None,
) -> Verdict:
    """Apply the promotion rule to the result of a held-out evaluation."""
    if policy.promotion == RetrainPolicy.Promotion.BY_HAND:
        return Verdict(False, "The project promotes by hand.")
    if policy.promotion == RetrainPolicy.Promotion.ALWAYS:
        return Verdict(True, "The project promotes every new version.")
    if current is None:
        return Verdict(True, "It is the first version.")
    if judged_against != current:
        return Verdict(False, "Another version became current while this one was judged; compare and promote by hand.")
    if judged is None or not judged["comparison"]:
        return Verdict(False, "There are no held-out pairs to compare it with the current version on.")
    rule = rule_of(policy)
    checks = check_rule(rule, judged["comparison"], judged["controls"], judged.get("chosen_on"))
    failed = [check for check in checks if not check.passed]
    opening = "Better than the current version" if not failed else "It does not pass the project's rule"
    reason = " ".join(check.sentence for check in failed or checks)
    return Verdict(not failed, f"{opening}. {reason}", asdict(rule), [asdict(check) for check in checks])


def rule_of(policy: RetrainPolicy) -> Rule:
    """Return the rule that a policy sets."""
    return Rule(policy.min_gain, policy.min_probability, policy.keep_controls, policy.max_domain_loss)


def note_verdict(
    *, model: RewardModel, verdict: Verdict, current: RewardModel | None, evidence: Evaluation | None
) -> None:
    """Keep what the policy decided about a new version."""
    PromotionDecision.objects.create(
        project=model.project,
        reward_model=model,
        against=current,
        kind=PromotionDecision.Kind.RULE,
        promoted=verdict.promoted,
        rule=verdict.rule,
        checks=verdict.checks,
        evidence=evidence,
        reason=verdict.reason,
    )


@transaction.atomic
def promote(*, model: RewardModel, actor: User | None) -> Job:
    """Make this the current version by hand, with the latest comparison with the one it replaces as evidence."""
    current = _lock(model)
    evidence = evidence_for(model, current)
    reason = f"Promoted by {actor}." if actor else "Promoted."
    _note_person(PromotionDecision.Kind.PERSON, model, current, actor, reason, evidence)
    return make_current(model=model, actor=actor)


@transaction.atomic
def roll_back(*, model: RewardModel, actor: User) -> Job:
    """Make the version that `model` replaced the current one again; Conflict when `model` is not the current one."""
    current = _lock(model, must_be_current=True)
    before = version_before(model)
    if before is None:
        raise Conflict(_("No version was current before this one."))
    reason = f"Rolled back from version {model.version} by {actor}."
    _note_person(PromotionDecision.Kind.ROLLBACK, before, current, actor, reason, None)
    return make_current(model=before, actor=actor)


def version_before(model: RewardModel) -> RewardModel | None:
    """Return the version that this one replaced when it was promoted, rollbacks aside."""
    promotions = model.decisions.filter(promoted=True).exclude(kind=PromotionDecision.Kind.ROLLBACK)
    latest = promotions.select_related("against").order_by("-id").first()
    # Versions from before decisions were kept know only which one was current when they were made.
    return latest.against if latest else model.current_when_made


def evidence_for(model: RewardModel, current: RewardModel | None) -> Evaluation | None:
    """Return the latest comparison of a version with the current one on held-out prompts."""
    held_out = model.evaluations.filter(benchmark=Evaluation.Benchmark.HELD_OUT, against=current)
    return held_out.order_by("-id").first()


def make_current(*, model: RewardModel, actor: User | None) -> Job:
    """Let a version replace the current one: its margins order the queue once every response is scored.

    Inside the caller's transaction, which holds the project's row.
    """
    project = model.project
    RewardModel.objects.filter(project=project, state=RewardModel.State.CURRENT).update(state=RewardModel.State.RETIRED)
    model.state = RewardModel.State.CURRENT
    model.promoted_at = timezone.now()
    model.save(update_fields=["state", "promoted_at"])
    use_for_queue(scorer=model.scorer)
    record(project=project, actor=actor, verb="promoted a reward model", version=model.version)
    said = {"reward_model": str(model.pk), "version": model.version, "by": actor.username if actor else None}
    emit(project=project, event=MODEL_PROMOTED, data=said)
    return run_scorer(scorer=model.scorer, created_by=actor)


def _lock(model: RewardModel, *, must_be_current: bool = False) -> RewardModel | None:
    """Lock the project and return its current version; raise Conflict when the model is it, or is not as it must be."""
    project = Project.objects.select_for_update(no_key=True).get(pk=model.project_id)
    model.refresh_from_db()
    is_current = model.state == RewardModel.State.CURRENT
    if must_be_current and not is_current:
        raise Conflict(_("This is not the current version."))
    if is_current and not must_be_current:
        raise Conflict(_("This is the current version already."))
    return RewardModel.objects.filter(project=project, state=RewardModel.State.CURRENT).first()


def _note_person(
    kind: str,
    model: RewardModel,
    current: RewardModel | None,
    actor: User | None,
    reason: str,
    evidence: Evaluation | None,
) -> None:
    first = model.decisions.order_by("id").first()
    judged = first.reason if first else model.decision
    PromotionDecision.objects.create(
        project_id=model.project_id,
        reward_model=model,
        against=current,
        kind=kind,
        promoted=True,
        evidence=evidence,
        reason=reason,
        decided_by=actor,
    )
    model.decision = f"{reason} Judged when it was made: {judged}"[:300] if judged else reason[:300]
    model.save(update_fields=["decision"])
