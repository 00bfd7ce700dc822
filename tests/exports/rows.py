"""A frozen row by hand, labels to import, and snapshots written and read."""

import json

from apps.core.artifacts import artifact_storage
from apps.exports.services import create_snapshot, find_file, write_snapshot
from tests.factories import ratings

ALL = {"name": "all", "splits": {"train": 1.0}}
ONE = {**ALL, "formats": ["annotations"], "encodings": ["jsonl"]}

MESSAGES = [{"role": "user", "content": "Name two primes."}]
WHY = "@Response 2 is better because both numbers are prime. @Response 1 lists 4, which is composite."


def annotation(preference=2, *, kept=True, helpfulness=(1, 4), **changes):
    return {
        "annotator": "a1",
        "preference": preference,
        "ratings": [{**ratings(2), "helpfulness": value} for value in helpfulness],
        "justification": WHY,
        "shown_order": [1, 2],
        "kept": kept,
        "revision": 1,
        "imported": False,
        "guideline_version": 1,
        "problems": [[], ["unsafe"]],
        "confidence": 2,
        "active_seconds": 61,
        "paste_share": None,
        "propensity": None,
        "submitted_at": "2026-11-27T12:00:00Z",
        **changes,
    }


def frozen(*, preference=2, **changes):
    return {
        "external_id": "q-1",
        "split": "train",
        "prompt_hash": "0" * 64,
        "messages": MESSAGES,
        "responses": [{"text": "2 and 4", "model": "model-a"}, {"text": "2 and 3", "model": "model-b"}],
        "reference": None,
        "metadata": {},
        "gold": None,
        "consensus": {
            "preference": preference,
            "status": "agreed",
            "excluded_reason": None,
            "spread": 0,
            "rule": "three-most-similar/1",
        },
        "annotations": [annotation(preference) for _ in range(3)],
        **changes,
    }


def labels(*preferences, helpfulness=(1, 4)):
    return [
        {
            "annotator": f"a{number}",
            "preference": preference,
            "justification": WHY,
            "ratings": [{**ratings(2), "helpfulness": value} for value in helpfulness],
        }
        for number, preference in enumerate(preferences)
    ]


def written(project, body=ALL):
    snapshot = create_snapshot(project=project, body=body, created_by=None)
    write_snapshot(snapshot=snapshot)
    return snapshot


def rows_of(snapshot, export_format, split="train"):
    stored = find_file(snapshot=snapshot, export_format=export_format, file=f"{split}.jsonl")
    with artifact_storage().open(stored.name) as stream:
        lines = [json.loads(line) for line in stream]
    assert len(lines) == snapshot.manifest["files"][f"{export_format}/{split}.jsonl"]["rows"]
    return lines


def ids_of(snapshot):
    return [row["external_id"] for row in rows_of(snapshot, "annotations")]
