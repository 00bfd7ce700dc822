"""A snapshot's bytes do not change with the program: those of these labels were written down once."""

import hashlib
from datetime import UTC, datetime, timedelta

import orjson
import pytest

from apps.exports.formats import FORMATS
from apps.labeling.models import Annotation
from tests.exports.rows import WHY, written
from tests.factories import ratings
from tests.imports.test_imports import load, row

pytestmark = pytest.mark.django_db

VOTES = [(2, 3, 3), (-2, -3, -3), (-1, -1, 1), ("neither",) * 3, (1,), (3, -3, 0, -2, 2), (1, 2, -1, 3, 2), (-1, 2, 1)]
TEXTS = [
    "=1+1",
    'a "quote", a\ttab\nand \\ lines\r\n',
    "ü 漢字 \U0001f30a \u2028 \x7f",
    "- @cell",
    "```\ncode\n```",
    "x" * 4000,
]
TURNS = [("system", "Be brief."), ("user", "Tides?"), ("assistant", "Moon."), ("user", "Why?")]
METADATA = [
    {},
    {"domain": "math", "language": "german"},
    {"subset": "chat", "images": ["https://example.org/a.png", 3], "reference_logps": [-1.5, -2]},
    {"big": float(2**70), "nested": {"a": [None, True, 0.1]}},
]
GOLDEN = {
    "annotations": "1ee0d953eabb1d03",
    "helpsteer2-preference": "cba8eb4c1749ff9c",
    "helpsteer2-ratings": "f923b3956b644d4b",
    "helpsteer2-disagreements": "8425a0b376295b79",
    "helpsteer3-preference": "149f554ab6d7bbc2",
    "trl-preference": "0ed49444241ce091",
    "trl-preference-conversational": "184c892aa23e277a",
    "trl-preference-implicit": "ebe803f7e0a6d54a",
    "trl-preference-implicit-conversational": "04ee84eb600c2fd3",
    "trl-unpaired": "61a6ba04f8acd410",
    "trl-unpaired-conversational": "84da5b174a4ad4fa",
    "openrlhf": "184c892aa23e277a",
    "nemo-rl": "bdb813920e22a5ab",
    "rewardbench": "e854edd9303f0833",
    "mpo": "cd08accf012b0a02",
    "ratings-derived-preference": "903850b8314e38b8",
    "labels.jsonl": "812760721c2a4ba1",
    "comparisons": "0519333f4c8b06ed",
    "excluded": "44136fa355b3678a",
    "left_out": "88a94ad36f0d1dad",
    "figures": "77a0805640ecfe11",  # since tiebreak-snapshot/3: intervals over comparisons
    "consensus_rules": "39aa72a017c47a8b",
}


def labeled_row(number):
    votes = VOTES[number % len(VOTES)]
    messages = [{"role": role, "content": f"{content} {number // 2}"} for role, content in TURNS[number % 2 :]]
    return row(
        external_id=f"q-{number}" if number % 5 else f"ö {number}",
        messages=messages if number % 3 else [{"role": "user", "content": f"{TEXTS[number % 6]} {number // 2}"}],
        responses=[
            {"text": f"{TEXTS[number % 6]} {number}", "model": "model-a"},
            {"text": f"{TEXTS[(number + 1) % 6]} or {number}", "model": "" if number % 4 == 0 else "model-b"},
        ],
        reference=None if number % 7 else f"The answer is {number}.",
        metadata=METADATA[number % 4],
        annotations=[
            {
                "annotator": f"a{(number + place) % 6}",
                "preference": vote,
                "justification": "" if number % 9 == 0 else f"{WHY} {TEXTS[place]} It is @Response 1 that is worse.",
                "ratings": [{**ratings(2), "helpfulness": (number + place) % 3}, {**ratings(3), "helpfulness": 4}],
            }
            for place, vote in enumerate(votes)
        ],
    )


def test_the_bytes_of_every_format_are_those_of_the_first_release(project):
    load(project, *(labeled_row(number) for number in range(48)))
    start = datetime(2026, 11, 27, 12, tzinfo=UTC)
    everything = Annotation.objects.select_related("comparison")
    for number, label in enumerate(sorted(everything, key=lambda label: (label.comparison.external_id, label.pk))):
        moment = start + timedelta(seconds=number, microseconds=number % 2)
        changes = {"swapped": number % 3 == 0, "active_seconds": number % 4 or None}
        changes["imported"] = number % 5 == 0 or label.preference == 0
        Annotation.objects.filter(pk=label.pk).update(submitted_at=moment, **changes)
    snapshot = written(project, {"name": "golden", "splits": {"train": 0.6, "validation": 0.4}, "seed": 7})
    manifest = snapshot.manifest

    def digest(value):
        return hashlib.sha256(orjson.dumps(value, option=orjson.OPT_SORT_KEYS)).hexdigest()[:16]

    found = {
        name: digest(
            [
                manifest["files"][f"{name}/{split}.{ending}"]["sha256"]
                for split in manifest["comparisons"]
                for ending in ("jsonl", "csv")
            ]
        )
        for name in FORMATS
    }
    found["labels.jsonl"] = manifest["documents"]["labels.jsonl"]["sha256"][:16]
    found |= {
        name: digest(manifest[name]) for name in ("comparisons", "excluded", "left_out", "figures", "consensus_rules")
    }
    assert found == GOLDEN
