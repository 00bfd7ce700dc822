"""The folder that `worker.train` reads: a recipe, the pairs of both splits, and settings."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

from django.conf import settings

from apps.exports.models import Snapshot
from apps.exports.services import read_rows
from apps.projects.models import Project
from apps.reward_models.evaluations import TRAIN, VALIDATION
from apps.reward_models.models import TrainingRun
from apps.reward_models.services import backbone_sources, model_folder, version_named
from worker.core.files import write_json
from worker.core.training.recipe import parent_of


def write_run_folder(*, run: TrainingRun, folder: Path) -> int:
    """Write what `worker.train` reads: recipe, pairs of both splits, settings. Return the number of training pairs."""
    return write_inputs(project=run.project, recipe=run.recipe, snapshot=run.snapshot, folder=folder)


def write_inputs(*, project: Project, recipe: dict[str, Any], snapshot: Snapshot, folder: Path) -> int:
    """Write what `worker.train` reads of a recipe on a snapshot. Return the number of training pairs."""
    folder.mkdir(parents=True, exist_ok=True)
    written = {split: _write_pairs(snapshot, split, folder / f"{split}.jsonl") for split in (TRAIN, VALIDATION)}
    parent = parent_of(recipe["initialisation"])
    start = None if parent is None else str(model_folder(version_named(project, parent)))
    write_json(folder / "recipe.json", recipe)
    run_settings = {
        "feature_cache": str(settings.CACHE_DIR / "features.sqlite3"),
        "snapshot": snapshot.content_hash,
        "threads": None,
        "initial_model": start,
        "backbones": backbone_sources().to_dict(),
        "checkpoint_seconds": settings.CHECKPOINT_SECONDS,
        "left_out": {split: dict(left_out) for split, (_count, left_out) in written.items()},
    }
    write_json(folder / "settings.json", run_settings)
    return written[TRAIN][0]


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
