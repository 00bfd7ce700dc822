"""Train, register, promote, and retrain by policy."""

import json
from collections import Counter
from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.artifacts import local_folder, store_folder
from apps.core.errors import AppError, Conflict, FieldError, InvalidInput, NotFound
from apps.exports.models import Snapshot
from apps.exports.selection import encodings_of, formats_of
from apps.exports.services import BASE_FORMAT, create_snapshot, read_rows
from apps.jobs.models import Job
from apps.jobs.services import Claim, enqueue, storing, succeed
from apps.labeling.models import Consensus
from apps.projects.models import Project
from apps.projects.services import invalid, record
from apps.reward_models.models import RetrainPolicy, RewardModel, TrainingRun
from apps.signals.models import Scorer
from apps.signals.services import run_scorer, use_for_queue
from apps.webhooks.events import MODEL_PROMOTED, MODEL_REGISTERED
from apps.webhooks.services import emit
from worker.core.consensus import Status
from worker.core.files import write_json
from worker.core.splits import split_of
from worker.core.training.recipe import REGRESSION_FIRST, SCRATCH, Recipe, parent_of

MIN_LABELS = 8
TRAIN, VALIDATION = "train", "validation"
TRAINING_SPLITS = {TRAIN: 0.8, VALIDATION: 0.2}


def trainable_labels(project: Project) -> int:
    """Return how many comparisons have a consensus that a reward model can learn from."""
    return Consensus.objects.filter(project=project, status=Status.AGREED).exclude(preference=0).count()


def check_enough_labels(project: Project) -> int:
    """Return how many labels there are to learn from; raise Conflict where they are too few."""
    labels = trainable_labels(project)
    if labels < MIN_LABELS:
        raise Conflict(
            _("The project has %(labels)s consensus labels that a model can learn from; training starts at %(least)s.")
            % {"labels": labels, "least": MIN_LABELS}
        )
    return labels


def freeze_snapshot(*, project: Project, purpose: str, created_by: User | None) -> Snapshot:
    """Freeze the labels of today for a training: 80 % of the prompts to train on, 20 % held out."""
    files = {"formats": [BASE_FORMAT], "encodings": ["jsonl"]}  # what training reads, and nothing more
    body = {"name": f"{purpose} of {timezone.now():%Y-%m-%d %H:%M}", "splits": TRAINING_SPLITS, **files}
    return create_snapshot(project=project, body=body, created_by=created_by)


@transaction.atomic
def start_training(
    *,
    project: Project,
    recipe: dict[str, Any] | None = None,
    snapshot: Snapshot | None = None,
    created_by: User | None = None,
    trigger: str = TrainingRun.Trigger.PERSON,
) -> TrainingRun:
    """Start a training run; while one is unfinished in the project, return that one.

    Without a snapshot, the run freezes one: 80 % of the prompts to train on, 20 % held out. A prompt stays on its side
    for ever, so a version is never judged on prompts that an earlier one has trained on.
    """
    labels = check_enough_labels(project)
    checked = parse_recipe(project, recipe or {})
    if snapshot is not None:
        check_snapshot(project, snapshot, TRAIN)
    job = enqueue(kind="training", project=project, inputs={}, created_by=created_by, key="training")
    if (unfinished := TrainingRun.objects.filter(job=job).first()) is not None:
        return unfinished
    if snapshot is None:
        snapshot = freeze_snapshot(project=project, purpose="Training", created_by=created_by)
    return TrainingRun.objects.create(
        project=project,
        recipe=checked.to_dict(),
        snapshot=snapshot,
        job=job,
        trigger=trigger,
        labels=labels,
        created_by=created_by,
    )


def parse_recipe(project: Project, body: dict[str, Any]) -> Recipe:
    """Return the project's recipe with the changes in `body`; raise InvalidInput naming the field."""
    policy = RetrainPolicy.objects.filter(project=project).first()
    try:
        recipe = Recipe.from_dict({**(policy.recipe if policy else {}), **body})
    except (TypeError, ValueError) as error:
        raise InvalidInput(_("The recipe is not valid."), [FieldError("/recipe", str(error))]) from error
    if recipe.parent is not None:
        _model_of(project, recipe.parent)
    return recipe


def write_run_folder(*, run: TrainingRun, folder: Path) -> int:
    """Write what `worker.train` reads: recipe, pairs of both splits, settings. Return the number of training pairs."""
    return write_inputs(project=run.project, recipe=run.recipe, snapshot=run.snapshot, folder=folder)


def write_inputs(*, project: Project, recipe: dict[str, Any], snapshot: Snapshot, folder: Path) -> int:
    """Write what `worker.train` reads of a recipe on a snapshot. Return the number of training pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {split: _write_pairs(snapshot, split, folder / f"{split}.jsonl") for split in (TRAIN, VALIDATION)}
    parent = parent_of(recipe["initialisation"])
    start = None if parent is None else str(model_folder(_model_of(project, parent)))
    write_json(folder / "recipe.json", recipe)
    run_settings = {
        "feature_cache": str(settings.CACHE_DIR / "features.sqlite3"),
        "snapshot": snapshot.content_hash,
        "threads": None,
        "initial_model": start,
        "left_out": {split: dict(left_out) for split, (_count, left_out) in written.items()},
    }
    write_json(folder / "settings.json", run_settings)
    return written[TRAIN][0]


def note_event(*, run: TrainingRun, event: dict[str, Any]) -> None:
    """Append a line of the training's report to the run's history."""
    run.history = [*run.history, event]
    run.save(update_fields=["history"])


def register_version(
    *,
    run: TrainingRun,
    claim: Claim,
    folder: Path,
    metrics: dict[str, Any] | None,
    judged_against: RewardModel | None,
    comparison: dict[str, Any] | None,
    code_version: str,
) -> RewardModel:
    """Store the finished folder as the project's next version, promote it if the policy says so, and finish the job.

    All in one transaction under the job's lock: a second worker that finished the same run registers nothing. The
    folder's name has the claim's token: a worker that comes back from the dead never touches the files of a version.
    """
    stored_as = f"reward-models/run-{run.pk}-{claim.token}"
    files = store_folder(folder, stored_as)
    with storing(claim):
        project = Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
        newest = RewardModel.objects.filter(project=project).aggregate(Max("version"))["version__max"] or 0
        current = current_model(project)
        scorer = Scorer.objects.create(
            project=project,
            name=f"Reward model {newest + 1}",
            kind=Scorer.Kind.REWARD_MODEL,
            config={"folder": stored_as, "files": files},
        )
        promote_it, reason = decide(
            _policy(project), comparison=comparison, judged_against=judged_against, current=current
        )
        model = RewardModel.objects.create(
            project=project,
            version=newest + 1,
            recipe=run.recipe,
            recipe_hash=Recipe.from_dict(run.recipe).hash,
            snapshot=run.snapshot,
            parent=current,
            scorer=scorer,
            folder=stored_as,
            files=files,
            metrics=metrics or {},
            comparison=comparison,
            decision=reason,
            code_version=code_version,
        )
        run.reward_model = model
        run.save(update_fields=["reward_model"])
        said = {"reward_model": str(model.pk), "version": model.version, "training_run": str(run.pk)}
        emit(project=project, event=MODEL_REGISTERED, data=said)
        if promote_it:
            promote(model=model, actor=None)
        succeed(claim, result={"reward_model": str(model.pk), "version": model.version, "promoted": promote_it})
    return model


def decide(
    policy: RetrainPolicy,
    *,
    comparison: dict[str, Any] | None,
    judged_against: RewardModel | None,
    current: RewardModel | None,
) -> tuple[bool, str]:
    """Apply the promotion rule; return the decision with its sentence."""
    if policy.promotion == RetrainPolicy.Promotion.BY_HAND:
        return False, "The project promotes by hand."
    if policy.promotion == RetrainPolicy.Promotion.ALWAYS:
        return True, "The project promotes every new version."
    if current is None:
        return True, "It is the first version."
    if judged_against != current:
        return False, "Another version became current while this one was judged; compare and promote by hand."
    if not comparison:
        return False, "There are no held-out pairs to compare it with the current version on."
    gain = comparison["difference"]
    figures = (
        f"held-out accuracy {comparison['candidate_accuracy']:.3f} against {comparison['current_accuracy']:.3f} "
        f"on {comparison['n']} pairs"
    )
    if gain > 0 and gain >= policy.min_gain:
        return True, f"Better than the current version: {figures}."
    needed = f" by at least {policy.min_gain:g}" if policy.min_gain else ""
    return False, f"Not better{needed} than the current version: {figures}."


@transaction.atomic
def promote(*, model: RewardModel, actor: User | None) -> Job:
    """Make this the current version: its margins order the queue once every response is scored."""
    project = Project.objects.select_for_update(no_key=True).get(pk=model.project_id)
    model.refresh_from_db()
    if model.state == RewardModel.State.CURRENT:
        raise Conflict(_("This is the current version already."))
    RewardModel.objects.filter(project=project, state=RewardModel.State.CURRENT).update(state=RewardModel.State.RETIRED)
    model.state = RewardModel.State.CURRENT
    model.promoted_at = timezone.now()
    if actor is not None:
        model.decision = f"Promoted by {actor}. Judged when it was made: {model.decision}"[:300]
    model.save(update_fields=["state", "promoted_at", "decision"])
    use_for_queue(scorer=model.scorer)
    record(project=project, actor=actor, verb="promoted a reward model", version=model.version)
    said = {"reward_model": str(model.pk), "version": model.version, "by": actor.username if actor else None}
    emit(project=project, event=MODEL_PROMOTED, data=said)
    return run_scorer(scorer=model.scorer, created_by=actor)


def current_model(project: Project) -> RewardModel | None:
    """Return the project's promoted version."""
    return RewardModel.objects.filter(project=project, state=RewardModel.State.CURRENT).select_related("scorer").first()


def never_trained_on(*, prompt_hash: str, model: RewardModel, initialisation: str) -> bool:
    """Say whether neither `model`, nor a version that it or a candidate started from, had this prompt in its training.

    Splits go by prompt, so runs with the same shares and seed never mix; a snapshot with others might.
    """
    parent = parent_of(initialisation)
    started_from = [model] if parent is None else [model, _model_of(model.project, parent)]
    while started_from:
        version = started_from.pop()
        selection = version.snapshot.selection
        if split_of(prompt_hash, selection["splits"], selection["seed"]) == TRAIN:
            return False
        if (parent := parent_of(version.recipe["initialisation"])) is not None:
            started_from.append(_model_of(version.project, parent))
    return True


def model_folder(model: RewardModel) -> Path:
    """Return a local folder with the model's files."""
    return local_folder(model.folder, model.files)


def check_retrain_policies() -> list[TrainingRun]:
    """Start the trainings whose time or number of new labels has come; a project that cannot train yet waits.

    A policy whose recipe is refused does not stop the others; what was refused is raised at the end.
    """
    started, refused = [], []
    for policy in RetrainPolicy.objects.select_related("project").exclude(every_labels=None, every_hours=None):
        trigger = _due(policy)
        if trigger is None:
            continue
        try:
            started.append(start_training(project=policy.project, trigger=trigger))
        except AppError as error:
            refused.append(error)
    if refused:
        raise ExceptionGroup("Some retrain policies could not start a training.", refused)
    return started


@transaction.atomic
def save_policy(
    *,
    project: Project,
    actor: User,
    every_labels: int | None,
    every_hours: float | None,
    promotion: str,
    min_gain: float,
    recipe: dict[str, Any],
) -> RetrainPolicy:
    """Store when the project retrains and with which recipe; raise InvalidInput naming the field."""
    try:
        checked = Recipe.from_dict(recipe)
    except (TypeError, ValueError) as error:
        raise InvalidInput(_("The recipe is not valid."), [FieldError("/recipe", str(error))]) from error
    if checked.parent is not None:
        _model_of(project, checked.parent)
    policy = RetrainPolicy(
        project=project,
        every_labels=every_labels,
        every_hours=every_hours,
        promotion=promotion,
        min_gain=min_gain,
        recipe=recipe,
    )
    try:
        policy.full_clean(validate_unique=False)
    except ValidationError as error:
        raise invalid(error) from error
    RetrainPolicy.objects.update_or_create(
        project=project,
        defaults={
            name: getattr(policy, name) for name in ("every_labels", "every_hours", "promotion", "min_gain", "recipe")
        },
    )
    record(project=project, actor=actor, verb="changed the retrain policy", every_labels=every_labels)
    return policy


def _due(policy: RetrainPolicy) -> str | None:
    project = policy.project
    if Job.objects.unfinished().filter(project=project, kind="training").exists():
        return None
    labels = trainable_labels(project)
    last = TrainingRun.objects.filter(project=project).order_by("-id").first()
    new_labels = labels - (last.labels if last else 0)
    if labels < MIN_LABELS or new_labels <= 0:
        return None
    if policy.every_labels and new_labels >= policy.every_labels:
        return TrainingRun.Trigger.LABELS
    since = last.created_at if last else project.created_at
    if policy.every_hours and timezone.now() - since >= timedelta(hours=policy.every_hours):
        return TrainingRun.Trigger.TIME
    return None


def _policy(project: Project) -> RetrainPolicy:
    return RetrainPolicy.objects.filter(project=project).first() or RetrainPolicy(project=project)


def _model_of(project: Project, model_id: str) -> RewardModel:
    model = RewardModel.objects.filter(project=project, pk=model_id).first() if str(model_id).isdecimal() else None
    if model is None:
        raise InvalidInput(
            _("The recipe names a version that does not exist."),
            [
                FieldError(
                    "/recipe/initialisation",
                    _('Use "%(scratch)s", "%(regression)s" or the id of a reward model of this project.')
                    % {"scratch": SCRATCH, "regression": REGRESSION_FIRST},
                )
            ],
        )
    return model


def check_snapshot(project: Project, snapshot: Snapshot, split: str) -> None:
    """Raise NotFound or InvalidInput where a snapshot is not the project's, or lacks the split or training's files."""
    if snapshot.project_id != project.pk:
        raise NotFound(_("There is no such snapshot in this project."))
    for name in {TRAIN, split}:
        if name not in snapshot.selection["splits"]:
            raise InvalidInput(
                _("The snapshot has no split to train on."),
                [FieldError("/snapshot", _("It needs a split named %(name)r.") % {"name": name})],
            )
    if BASE_FORMAT not in formats_of(snapshot.selection) or "jsonl" not in encodings_of(snapshot.selection):
        raise InvalidInput(
            _("The snapshot lacks the files that training reads."),
            [FieldError("/snapshot", _("It needs the format annotations as JSON lines."))],
        )


def _write_pairs(snapshot: Snapshot, split: str, path: Path) -> tuple[int, Counter[str]]:
    """Write what training reads of a split; return the pairs written, and those left out by reason.

    A tie is written: it is the objective's to take or leave. "Neither valid" and no consensus are no preference at all.
    """
    count, left_out = 0, Counter[str]()
    with path.open("w", encoding="utf-8") as out:
        rows = read_rows(snapshot, split) if split in snapshot.selection["splits"] else []
        for row in rows:
            preference = row["consensus"]["preference"]
            if preference in (None, "neither"):
                left_out["neither valid" if preference else "no consensus"] += 1
                continue
            out.write(json.dumps(_pair_row(row)) + "\n")
            count += 1
    return count, left_out


def _pair_row(row: dict[str, Any]) -> dict[str, Any]:
    votes = [annotation["preference"] for annotation in row["annotations"]]
    return {
        "id": row["external_id"],
        "prompt_key": row["prompt_hash"],
        "messages": row["messages"],
        "response_1": row["responses"][0]["text"],
        "response_2": row["responses"][1]["text"],
        "preference": row["consensus"]["preference"],
        "ratings": _mean_ratings(row),
        "votes": [vote for vote in votes if vote != "neither"],
    }


def _mean_ratings(row: dict[str, Any]) -> list[dict[str, float]] | None:
    kept = [
        annotation["ratings"] for annotation in row["annotations"] if annotation["kept"] and all(annotation["ratings"])
    ]
    if not kept:
        return None
    names = [set(ratings[side]) for ratings in kept for side in (0, 1)]
    common = sorted(set.intersection(*names))
    return [{name: sum(ratings[side][name] for ratings in kept) / len(kept) for name in common} for side in (0, 1)]
