"""Train, register, promote, and retrain by policy."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.exceptions import ValidationError
from django.db import transaction
from django.db.models import Max
from django.utils import timezone
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy

from apps.accounts.models import User
from apps.core.artifacts import local_folder, store_folder
from apps.core.errors import Conflict, FieldError, InvalidInput, NotFound
from apps.exports.models import Snapshot
from apps.exports.selection import encodings_of, formats_of
from apps.exports.services import BASE_FORMAT, create_snapshot
from apps.jobs.models import Job
from apps.jobs.services import Claim, enqueue, storing, succeed
from apps.labeling.models import Consensus
from apps.projects.models import Project
from apps.projects.services import invalid, record
from apps.reward_models.code_version import code_version
from apps.reward_models.evaluations import TRAIN, VALIDATION, add_evaluation
from apps.reward_models.models import MAX_HOURS, Evaluation, RecipeSearch, RetrainPolicy, RewardModel, TrainingRun
from apps.reward_models.promotion import decide, make_current, note_verdict
from apps.signals.models import Scorer
from apps.webhooks.events import MODEL_REGISTERED
from apps.webhooks.services import emit
from worker.core.backbone_sources import Sources
from worker.core.consensus import Status
from worker.core.training.recipe import REGRESSION_FIRST, SCRATCH, Recipe, parent_of

MIN_LABELS = 8
ANOTHER_TRAINING = gettext_lazy("Another training of this project is running; wait until it is over, or cancel it.")
TRAINING_SPLITS = {TRAIN: 0.8, VALIDATION: 0.2}
POLICY_FIELDS = (
    "every_labels",
    "every_hours",
    "promotion",
    "min_gain",
    "min_probability",
    "keep_controls",
    "max_domain_loss",
    "recipe",
)


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
    """Start a training run; while one is unfinished in the project, the same request returns that one.

    Raises Conflict where it has another recipe or snapshot than was asked for; what is left out asks for nothing.
    Without a snapshot, the run freezes one: 80 % of the prompts to train on, 20 % held out. A prompt stays on its side
    for ever, so a version is never judged on prompts that an earlier one has trained on.
    """
    labels = check_enough_labels(project)
    checked = parse_recipe(project, recipe or {})
    if snapshot is not None:
        check_snapshot(project, snapshot, TRAIN)
    job = enqueue(kind="training", project=project, inputs={}, created_by=created_by, key="training")
    if (unfinished := TrainingRun.objects.filter(job=job).first()) is not None:
        asked = {"recipe": None if recipe is None else checked.to_dict(), "snapshot": snapshot}
        check_same(unfinished, asked, str(ANOTHER_TRAINING))
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


@transaction.atomic
def resume_training(*, run: TrainingRun, created_by: User | None = None) -> TrainingRun:
    """Take up a run that failed or was cancelled, in a new job: same folder, snapshot and recipe, from its checkpoint.

    Raises Conflict where the run goes on, has made its version, or another one of the project goes on.
    """
    run = TrainingRun.objects.select_for_update(of=("self",)).select_related("project", "job").get(pk=run.pk)
    if not run.job.finished:
        raise Conflict(_("The training is not over."))
    if not run.resumable:
        raise Conflict(_("There is nothing to resume: the training has made its version."))
    job = enqueue(kind="training", project=run.project, inputs={}, created_by=created_by, key="training")
    if TrainingRun.objects.filter(job=job).exists():
        raise Conflict(str(ANOTHER_TRAINING))
    run.job = job
    run.save(update_fields=["job"])
    return run


def check_same(unfinished: TrainingRun | RecipeSearch, asked: dict[str, Any], detail: str) -> None:
    """Raise Conflict with `detail` where something was asked for that what is running is not; None asks for nothing."""
    if any(value is not None and value != getattr(unfinished, name) for name, value in asked.items()):
        raise Conflict(detail)


def parse_recipe(project: Project, body: dict[str, Any]) -> Recipe:
    """Return the project's recipe with the changes in `body`; raise InvalidInput naming the field."""
    policy = RetrainPolicy.objects.filter(project=project).first()
    return _checked_recipe(project, {**(policy.recipe if policy else {}), **body})


def _checked_recipe(project: Project, values: dict[str, Any]) -> Recipe:
    try:
        recipe = Recipe.from_dict(values)
        backbone_sources().check(recipe.backbone)
    except (TypeError, ValueError) as error:
        raise InvalidInput(_("The recipe is not valid."), [FieldError("/recipe", str(error))]) from error
    if recipe.parent is not None:
        version_named(project, recipe.parent)
    return recipe


def backbone_sources() -> Sources:
    """Return where backbones may come from: whoever writes a recipe must not reach other files of a gpu worker."""
    return Sources(folder=settings.BACKBONES_DIR, owners=tuple(settings.HUB_OWNERS))


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
    judged: dict[str, Any] | None,
    judged_against: RewardModel | None,
) -> RewardModel:
    """Store the finished folder as the project's next version, promote it if the policy says so, and finish the job.

    `judged` is the result of its evaluation on the held-out prompts, in comparison with `judged_against`.
    All in one transaction under the job's lock: a second worker that finished the same run registers nothing. The
    folder's name has the claim's token: a worker that comes back from the dead never touches the files of a version.
    """
    stored_as = f"reward-models/run-{run.pk}-{claim.token}"
    files = store_folder(folder, stored_as)
    with storing(claim) as job:
        project = Project.objects.select_for_update(no_key=True).get(pk=run.project_id)
        newest = RewardModel.objects.filter(project=project).aggregate(Max("version"))["version__max"] or 0
        current = current_model(project)
        scorer = Scorer.objects.create(
            project=project,
            name=f"Reward model {newest + 1}",
            kind=Scorer.Kind.REWARD_MODEL,
            config={"folder": stored_as, "files": files},
        )
        verdict = decide(policy_of(project), judged=judged, judged_against=judged_against, current=current)
        model = RewardModel.objects.create(
            project=project,
            version=newest + 1,
            recipe=run.recipe,
            recipe_hash=Recipe.from_dict(run.recipe).hash,
            snapshot=run.snapshot,
            parent=started_from(run),
            current_when_made=current,
            scorer=scorer,
            folder=stored_as,
            files=files,
            metrics=metrics or {},
            comparison=_in_short(judged["comparison"]) if judged else None,
            decision=verdict.reason[:300],
            code_version=code_version(),
        )
        evidence = _keep_evaluation(model, job, judged, judged_against)
        note_verdict(model=model, verdict=verdict, current=current, evidence=evidence)
        run.reward_model = model
        run.save(update_fields=["reward_model"])
        said = {"reward_model": str(model.pk), "version": model.version, "training_run": str(run.pk)}
        emit(project=project, event=MODEL_REGISTERED, data=said)
        if verdict.promoted:
            make_current(model=model, actor=None)
        succeed(claim, result={"reward_model": str(model.pk), "version": model.version, "promoted": verdict.promoted})
    return model


def _keep_evaluation(
    model: RewardModel, job: Job, judged: dict[str, Any] | None, against: RewardModel | None
) -> Evaluation | None:
    if judged is None:
        return None
    return add_evaluation(
        model=model,
        job=job,
        benchmark=Evaluation.Benchmark.HELD_OUT,
        source=model.snapshot.name,
        content_hash=model.snapshot.content_hash,
        result=judged,
        against=against,
    )


def _in_short(comparison: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a comparison without its long lists, which stand in the evaluation."""
    if comparison is None:
        return None
    return {name: value for name, value in comparison.items() if name not in {"flips", "difference_quantiles"}}


def current_model(project: Project) -> RewardModel | None:
    """Return the project's promoted version."""
    return RewardModel.objects.current_of(project)


def started_from(run: TrainingRun) -> RewardModel | None:
    """Return the version whose weights a run starts from, if it starts from one."""
    parent = parent_of(run.recipe["initialisation"])
    return None if parent is None else version_named(run.project, parent)


def model_folder(model: RewardModel) -> Path:
    """Return a local folder with the model's files."""
    return local_folder(model.folder, model.files)


def check_retrain_policies() -> list[TrainingRun]:
    """Start the trainings whose time or number of new labels has come; a project that cannot train yet waits.

    A policy that fails, for whatever reason, does not stop the others; what failed is raised at the end.
    """
    started: list[TrainingRun] = []
    failed: list[Exception] = []
    for policy in RetrainPolicy.objects.select_related("project").exclude(every_labels=None, every_hours=None):
        try:
            if (trigger := _due(policy)) is not None:
                started.append(start_training(project=policy.project, trigger=trigger))
        except Exception as error:  # noqa: BLE001 raised below, when every project had its turn
            failed.append(error)
    if failed:
        raise ExceptionGroup("Some retrain policies could not start a training.", failed)
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
    min_probability: float = 0.8,
    keep_controls: bool = True,
    max_domain_loss: float | None = None,
) -> RetrainPolicy:
    """Store when the project retrains, with which recipe, and what promotes; raise InvalidInput naming the field."""
    _checked_recipe(project, recipe)
    policy = RetrainPolicy(
        project=project,
        every_labels=every_labels,
        every_hours=every_hours,
        promotion=promotion,
        min_gain=min_gain,
        min_probability=min_probability,
        keep_controls=keep_controls,
        max_domain_loss=max_domain_loss,
        recipe=recipe,
    )
    try:
        policy.full_clean(validate_unique=False)
    except ValidationError as error:
        raise invalid(error) from error
    RetrainPolicy.objects.update_or_create(
        project=project,
        defaults={name: getattr(policy, name) for name in POLICY_FIELDS},
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
    if policy.every_hours and timezone.now() - since >= timedelta(hours=min(policy.every_hours, MAX_HOURS)):
        return TrainingRun.Trigger.TIME
    return None


def policy_of(project: Project) -> RetrainPolicy:
    """Return the project's policy; one with the defaults, not stored, where it has none."""
    return RetrainPolicy.objects.filter(project=project).first() or RetrainPolicy(project=project)


def version_named(project: Project, model_id: str) -> RewardModel:
    """Return the version that a recipe starts from; raise InvalidInput where the project has none of this id."""
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
