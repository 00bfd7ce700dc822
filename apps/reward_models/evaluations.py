"""Measure versions: on the prompts they never saw, and on public benchmarks. The worker does the measuring."""

import hashlib
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import IO, Any

from django.conf import settings
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.artifacts import artifact_storage, store_file
from apps.core.errors import FieldError, InvalidInput
from apps.core.json_values import why_unstorable
from apps.exports.models import Snapshot
from apps.exports.services import read_rows
from apps.imports.cells import meant_by_sides, turns, with_meaning
from apps.imports.files import check_head, rows_of
from apps.imports.models import Upload
from apps.imports.sources import local_copy
from apps.jobs.models import Job
from apps.jobs.services import Claim, enqueue, storing, succeed
from apps.projects.access import is_id
from apps.projects.models import Project
from apps.prompts.models import Comparison
from apps.reward_models.code_version import code_version
from apps.reward_models.models import Evaluation, RecipeSearch, RewardModel
from worker.core.conversation import prompt_of
from worker.core.reward_benchmarks import BENCHMARKS
from worker.core.scorecard import HeldOutPair
from worker.core.splits import split_of
from worker.core.training.recipe import parent_of

TRAIN, VALIDATION = "train", "validation"
MAX_FILE_BYTES = 1 << 30
MAX_CONTROLS = 5000
_CHUNK = 1 << 20
_CELLS = {"question": turns, "input": turns}
"""What columns of a benchmark in CSV may hold besides texts, as `chosen`, `rejected` and `prompt` may."""

Rows = Iterator[tuple[int, object]]
DatasetRows = Callable[[dict[str, Any]], Rows]


def start_evaluation(
    *,
    model: RewardModel,
    benchmark: str,
    created_by: User | None,
    file: IO[bytes] | None = None,
    file_name: str = "",
    upload_id: str | None = None,
    path: str | None = None,
    dataset: dict[str, Any] | None = None,
) -> Job:
    """Start measuring a version; the same measurement that is under way already is the reply.

    A benchmark comes from a file, an upload, a path below BENCHMARKS_DIR of the gpu worker, or a dataset of the hub;
    from its own published dataset where none is named. The held-out prompts are those of the version's snapshot.
    """
    if benchmark not in Evaluation.Benchmark.values:
        raise _wrong("/benchmark", _("Use one of %(names)s.") % {"names": ", ".join(Evaluation.Benchmark.values)})
    given = [
        name for name, value in (("file", file), ("upload", upload_id), ("path", path), ("dataset", dataset)) if value
    ]
    if benchmark == Evaluation.Benchmark.HELD_OUT and given:
        raise _wrong(f"/{given[0]}", _("The held-out prompts come from the version's own snapshot."))
    if len(given) > 1:
        raise _wrong(f"/{given[1]}", _("Send this or %(other)s, not both.") % {"other": given[0]})
    source: dict[str, Any] = {}
    if file is not None:
        source = {"stored_as": _keep(model.project, file), "name": file_name[-200:] or "file"}
    elif upload_id is not None:
        upload = _upload(model.project, upload_id)
        source = {"pieces": upload.pieces, "name": upload.file_name}
    elif path is not None:
        source = {"path": _checked_path(path), "name": path}
    elif dataset is not None:
        source = {"datasets": [dataset], "name": dataset["name"]}
    elif benchmark != Evaluation.Benchmark.HELD_OUT:
        published = BENCHMARKS[benchmark].datasets
        source = {"datasets": [{"name": name, "split": split} for name, split in published], "name": published[0][0]}
    key = hashlib.sha256(repr(sorted(source.items())).encode()).hexdigest()[:32]
    return enqueue(
        kind="evaluation",
        project=model.project,
        inputs={"reward_model": str(model.pk), "benchmark": benchmark, "source": source},
        created_by=created_by,
        key=f"evaluation-{model.pk}-{benchmark}-{key}",
    )


@contextmanager
def benchmark_rows(source: dict[str, Any], dataset_rows: DatasetRows) -> Iterator[tuple[Rows, str]]:
    """Yield the rows of a benchmark's source and the SHA-256 of its file; empty for a dataset, whose rows are hashed.

    Raises InvalidInput for a file that is gone or is no data.
    """
    if "datasets" in source:
        yield (row for dataset in source["datasets"] for row in dataset_rows(dataset)), ""
        return
    with _file_of(source) as path:
        digest = hashlib.sha256()
        with path.open("rb") as stream:
            while chunk := stream.read(_CHUNK):
                digest.update(chunk)
        with rows_of(path, file_name=source["name"]) as rows:
            yield with_meaning(rows, meant_by_sides, _CELLS), digest.hexdigest()


def held_out_rows(snapshot: Snapshot) -> Iterable[dict[str, Any]]:
    """Return the rows of a snapshot's held-out split; none where it has no such split."""
    return read_rows(snapshot, VALIDATION) if VALIDATION in snapshot.selection["splits"] else ()


def control_pairs(project: Project, *trained_on: Snapshot) -> tuple[list[HeldOutPair], int]:
    """Return the project's control pairs with their known answer as the preference, oldest first, and how many are not.

    Those whose prompt was learned from one of these snapshots are left out, and counted.
    """
    known = Comparison.objects.filter(project=project, gold__isnull=False).exclude(gold=0)
    prompts = dict(known.order_by("pk").values_list("pk", "prompt__content_hash"))
    learned = _learned(trained_on, set(prompts.values()))
    unseen = [pk for pk, prompt in prompts.items() if prompt not in learned]
    rows = known.filter(pk__in=unseen[:MAX_CONTROLS]).select_related("prompt", "response_1", "response_2")
    pairs = [
        HeldOutPair(
            id=row.external_id,
            prompt_key=row.prompt.content_hash,
            prompt=prompt_of(row.prompt.messages),
            response_1=row.response_1.text,
            response_2=row.response_2.text,
            preference=row.gold or 0,
        )
        for row in rows.order_by("pk")
    ]
    return pairs, len(prompts) - len(unseen)


def _learned(snapshots: Iterable[Snapshot], prompts: set[str]) -> set[str]:
    """Return which of these prompts have a labeled pair in a snapshot's training split.

    The rows say so, not the split alone: an item that is handed out as a control is in no snapshot, so most of them
    fall into that split without ever having been learned.
    """
    learned: set[str] = set()
    for snapshot in snapshots:
        splits, seed = snapshot.selection["splits"], snapshot.selection["seed"]
        asked = {prompt for prompt in prompts - learned if split_of(prompt, splits, seed) == TRAIN}
        rows = read_rows(snapshot, TRAIN) if asked else iter(())
        labeled = {row["prompt_hash"] for row in rows if row["consensus"]["preference"] not in (None, "neither")}
        learned |= labeled & asked
    return learned


def lineage_of(*models: RewardModel) -> list[RewardModel]:
    """Return these versions and every version that one of them started from."""
    lineage: dict[int, RewardModel] = {}
    pending = list(models)
    while pending:
        version = pending.pop()
        if version.pk in lineage:
            continue
        lineage[version.pk] = version
        parent = parent_of(version.recipe["initialisation"])
        if parent is not None:
            pending += RewardModel.objects.filter(project=version.project_id, pk=parent).select_related("snapshot")
    return list(lineage.values())


def unseen_by(*models: RewardModel) -> Callable[[str], bool]:
    """Return a test that says of a prompt's hash that no version here, nor one it started from, was trained on it.

    Splits go by prompt, so runs with the same shares and seed never mix; a snapshot with others might.
    """
    selections = [version.snapshot.selection for version in lineage_of(*models)]
    return lambda prompt_hash: all(
        split_of(prompt_hash, selection["splits"], selection["seed"]) != TRAIN for selection in selections
    )


def chosen_on(
    project: Project, recipe: dict[str, Any], prompts: set[str], against: RewardModel | None
) -> dict[str, Any] | None:
    """Return which recipe search measured this recipe on some of these held-out prompts; None where none did.

    The best of several trials owes some of its accuracy to chance, and on the prompts it was chosen by nobody can tell
    how much. `same_recipe` says that `against` has the same recipe: then chance favours neither. Seed and name do not
    tell recipes apart.
    """
    for search in RecipeSearch.objects.filter(project=project).select_related("snapshot").order_by("-pk"):
        measured = [trial for trial in search.trials if trial.get("validation")]
        tried = [_essence({**search.recipe, **trial["changes"]}) for trial in measured]
        if len(tried) < 2 or _essence(recipe) not in tried:
            continue
        shared = len(prompts & {row["prompt_hash"] for row in held_out_rows(search.snapshot)})
        if shared:
            same = against is not None and _essence(against.recipe) == _essence(recipe)
            return {"search": str(search.pk), "trials": len(tried), "prompts": shared, "same_recipe": same}
    return None


def _essence(recipe: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in recipe.items() if name not in {"name", "seed"}}


def store_evaluation(
    *,
    model: RewardModel,
    claim: Claim,
    benchmark: str,
    source: str,
    content_hash: str,
    result: dict[str, Any],
    against: RewardModel | None,
) -> Evaluation:
    """Keep what a job has measured and finish the job, in one transaction under the job's lock."""
    with storing(claim) as job:
        evaluation = add_evaluation(
            model=model,
            job=job,
            benchmark=benchmark,
            source=source,
            content_hash=content_hash,
            result=result,
            against=against,
        )
        succeed(claim, result={"evaluation": str(evaluation.pk), "reward_model": str(model.pk)})
    return evaluation


def add_evaluation(
    *,
    model: RewardModel,
    job: Job,
    benchmark: str,
    source: str,
    content_hash: str,
    result: dict[str, Any],
    against: RewardModel | None,
) -> Evaluation:
    """Add the row of a measurement, inside the caller's transaction."""
    return Evaluation.objects.create(
        project_id=model.project_id,
        reward_model=model,
        benchmark=benchmark,
        source=source[:300],
        content_hash=content_hash,
        against=against,
        result=result,
        code_version=code_version(),
        job=job,
        created_by_id=job.created_by_id,
    )


@contextmanager
def _file_of(source: dict[str, Any]) -> Iterator[Path]:
    if "path" in source:
        path = (settings.BENCHMARKS_DIR / source["path"]).resolve()
        if not path.is_relative_to(settings.BENCHMARKS_DIR.resolve()) or not path.is_file():
            raise _wrong(
                "/path", _("The worker has no file %(path)s in its folder of benchmarks.") % {"path": source["path"]}
            )
        yield path
        return
    names = source.get("pieces") or [source["stored_as"]]
    if not all(artifact_storage().exists(name) for name in names):
        raise _wrong("/upload", _("The file is gone; send it again."))
    with local_copy(names) as path:
        yield path


def _keep(project: Project, file: IO[bytes]) -> str:
    """Store a file under the hash of its content, so that the same file is kept once however often it is sent."""
    digest, size, head = hashlib.sha256(), 0, b""
    with tempfile.NamedTemporaryFile() as copy:
        while chunk := file.read(_CHUNK):
            head = head or chunk
            size += len(chunk)
            if size > MAX_FILE_BYTES:
                raise _wrong("/file", _("A benchmark's file may have %(bytes)s bytes.") % {"bytes": MAX_FILE_BYTES})
            digest.update(chunk)
            copy.write(chunk)
        if not size:
            raise _wrong("/file", _("The file is empty."))
        check_head(head)
        copy.flush()
        name = f"benchmarks/{project.pk}/{digest.hexdigest()}"
        if not artifact_storage().exists(name):
            store_file(Path(copy.name), name)
    return name


def _upload(project: Project, upload_id: str) -> Upload:
    found = Upload.objects.filter(project=project, pk=upload_id) if is_id(upload_id) else Upload.objects.none()
    upload = found.first()
    if upload is None:
        raise _wrong("/upload", _("There is no such upload in this project."))
    if not upload.is_complete or not upload.length:
        raise _wrong("/upload", _("The upload has not arrived as a whole."))
    return upload


def _checked_path(path: str) -> str:
    parts = PurePosixPath(path).parts
    if not parts or path.startswith("/") or ".." in parts or "\\" in path or why_unstorable(path):
        raise _wrong("/path", _("Name a file below the worker's folder of benchmarks, such as reward-bench.jsonl."))
    return path


def _wrong(pointer: str, sentence: str) -> InvalidInput:
    return InvalidInput(sentence, [FieldError(pointer, sentence)])
