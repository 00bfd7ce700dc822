"""Evaluations: a version on held-out prompts and control pairs, beside another one, or on a public benchmark."""

import hashlib
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from celery import shared_task

from apps.exports.models import Snapshot
from apps.reward_models.evaluations import (
    benchmark_rows,
    chosen_on,
    control_pairs,
    held_out_rows,
    lineage_of,
    store_evaluation,
    unseen_by,
)
from apps.reward_models.models import Evaluation, RewardModel
from apps.reward_models.promotion import version_before
from apps.reward_models.services import current_model, model_folder
from worker.core.hub import DatasetUnavailable, dataset_rows
from worker.core.reward_benchmarks import BENCHMARKS, BenchmarkError, Item
from worker.tasks.running import Held, JobFailed, run_job
from worker.tasks.scoring import feature_cache


@shared_task(name="tiebreak.evaluate_reward_model")
def evaluate_reward_model(job_id: int) -> None:
    """Measure a version as its job says, and keep the figures."""
    run_job(job_id, _evaluate)


def _evaluate(held: Held) -> None:
    inputs = held.job.inputs
    versions = RewardModel.objects.select_related("project", "snapshot", "scorer", "current_when_made")
    model = versions.filter(pk=inputs["reward_model"]).first()
    if model is None:
        raise JobFailed("The version is gone.")
    against = None
    with failing_in_sentences():
        if inputs["benchmark"] == Evaluation.Benchmark.HELD_OUT:
            against = _other(model)
            source, content_hash = model.snapshot.name, model.snapshot.content_hash
            result = judge_version(
                held,
                recipe=model.recipe,
                snapshot=model.snapshot,
                folder=model_folder(model),
                versions=[model],
                against=against,
            )
        else:
            source = inputs["source"]["name"]
            result, content_hash = _benchmark(held, model, inputs["benchmark"], inputs["source"])
    store_evaluation(
        model=model,
        claim=held.claim,
        benchmark=inputs["benchmark"],
        source=source,
        content_hash=content_hash,
        result=result,
        against=against,
    )


def judge_version(
    held: Held,
    *,
    recipe: dict[str, Any],
    snapshot: Snapshot,
    folder: Path,
    versions: Sequence[RewardModel],
    against: RewardModel | None,
) -> dict[str, Any]:
    """Return the figures of a model's folder on the held-out prompts of a snapshot, in comparison with `against`.

    Prompts that one of `versions` (the model itself, or what it started from) was trained on are left out, and so
    are those that `against` was trained on from the comparison. `prompts` says which ones remain. Control pairs are
    those that neither has learned. `chosen_on` says whether a search has chosen the recipe on these prompts.
    """
    from worker.core.evaluation import held_out_pair, judge_folder  # loads torch, which importers must not

    unseen = unseen_by(*versions)
    rows = [pair for row in held_out_rows(snapshot) if (pair := held_out_pair(row)) is not None]
    pairs = [pair for pair in rows if unseen(pair.prompt_key)]
    others = [against] if against is not None else []
    fair = unseen_by(*others)
    learned_from = {version.snapshot.pk: version.snapshot for version in lineage_of(*versions, *others)}
    controls, learned = control_pairs(snapshot.project, *(learned_from | {snapshot.pk: snapshot}).values())
    judged = judge_folder(
        folder,
        pairs=pairs,
        controls=controls,
        controls_learned=learned,
        cache=feature_cache(),
        against=model_folder(against) if against is not None else None,
        comparable=[fair(pair.prompt_key) for pair in pairs],
        on_progress=lambda done, total, hits, computed: held.progress(done, total, "Scoring held-out pairs"),
    )
    keys = sorted({pair.prompt_key for pair in pairs})
    return {
        **asdict(judged),
        "chosen_on": chosen_on(snapshot.project, recipe, set(keys), against),
        "prompts": {
            "snapshot": str(snapshot.pk),
            "content_hash": snapshot.content_hash,
            "split": "validation",
            "count": len(keys),
            "sha256": hashlib.sha256("\n".join(keys).encode()).hexdigest(),
            "left_out": len({pair.prompt_key for pair in rows}) - len(keys),
        },
    }


def _benchmark(held: Held, model: RewardModel, name: str, source: dict[str, Any]) -> tuple[dict[str, Any], str]:
    from worker.core.evaluation import run_benchmark  # loads torch, which importers must not

    held.progress(0, 0, "Reading the benchmark")
    with benchmark_rows(source, dataset_rows) as (rows, file_hash):
        items = BENCHMARKS[name].read(rows)
    result = run_benchmark(
        model_folder(model),
        name,
        items,
        feature_cache(),
        lambda done, total, hits, computed: held.progress(done, total, f"{done} responses scored"),
    )
    return result, file_hash or _hash_of(items)


def _hash_of(items: Sequence[Item]) -> str:
    """Return the SHA-256 of what was read from a dataset, one line of JSON an item."""
    digest = hashlib.sha256()
    for item in items:
        digest.update(json.dumps(asdict(item), sort_keys=True).encode() + b"\n")
    return digest.hexdigest()


def _other(model: RewardModel) -> RewardModel | None:
    """Return the version to compare with: the current one, and for that itself the one it replaced."""
    current = current_model(model.project)
    return version_before(model) if current == model else current


@contextmanager
def failing_in_sentences() -> Iterator[None]:
    """Let a model, a file or a dataset that cannot be used fail the job with its own sentence."""
    from worker.core.backbone import BackboneError
    from worker.core.training.save import ModelFolderError

    try:
        yield
    except (BenchmarkError, DatasetUnavailable, ModelFolderError, BackboneError) as error:
        raise JobFailed(str(error)) from error
