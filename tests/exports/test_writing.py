"""A snapshot's bytes are those of its selection; a writer that dies leaves nothing; long rows come in small chunks."""

import gzip
import os
import time
from pathlib import Path

import pytest

from apps.core.artifacts import artifact_storage
from apps.exports import rows as reading
from apps.exports.encodings import DEFAULT_ENCODINGS
from apps.exports.formats import FORMATS
from apps.exports.services import create_snapshot, find_document, find_file, start_snapshot, write_snapshot
from apps.jobs import services as jobs
from apps.labeling.models import Annotation
from tests.exports.rows import ALL, ONE, ids_of, labels, rows_of, written
from tests.imports.test_imports import load, row

pytestmark = pytest.mark.django_db


def load_pairs(project, count, *, length=10, first=0):
    load(
        project,
        *(
            row(
                external_id=f"q-{number}",
                messages=[{"role": "user", "content": f"Prompt {number}"}],
                responses=[{"text": f"{number} " + "a" * length}, {"text": f"{number} b"}],
                annotations=labels(1, 2, -1 if number % 3 else 2),
            )
            for number in range(first, first + count)
        ),
    )


def content(snapshot, export_format, file):
    with artifact_storage().open(find_file(snapshot=snapshot, export_format=export_format, file=file).name) as stream:
        return stream.read()


def test_every_format_is_there_in_every_default_encoding(project):
    load_pairs(project, 4)
    snapshot = written(project, {"name": "all"})
    names = {
        f"{name}/{split}.{ending}"
        for name in FORMATS
        for split in ("train", "validation")
        for ending in DEFAULT_ENCODINGS
    }
    assert set(snapshot.manifest["files"]) == names
    assert list(snapshot.manifest["formats"]) == list(FORMATS)


def test_bytes_do_not_depend_on_chunks_nor_on_which_formats_are_written_together(project, monkeypatch):
    load_pairs(project, 25)
    everything = written(project, {**ALL, "seed": 5})
    monkeypatch.setattr(reading, "CHUNK", 4)
    again = written(project, {**ALL, "seed": 5})
    assert again.content_hash == everything.content_hash
    assert again.manifest["files"] == everything.manifest["files"]
    alone = written(project, {**ALL, "seed": 5, "formats": ["trl-preference"]})
    name = "trl-preference/train.parquet"
    assert alone.manifest["files"][name] == everything.manifest["files"][name]


def test_the_order_is_that_of_bytes_and_not_of_a_language(project):
    for external_id in ("b", "B", "ä", "a", "_", "10", "9"):
        load(
            project,
            row(external_id=external_id, responses=[f"{external_id} 1", f"{external_id} 2"], annotations=labels(1)),
        )
    assert ids_of(written(project, ONE)) == ["10", "9", "B", "_", "a", "b", "ä"]


def test_prompts_stay_in_their_split_when_data_grows(project):
    body = {**ONE, "splits": {"train": 0.5, "validation": 0.5}, "seed": 3}
    load_pairs(project, 20)
    before = written(project, body)
    load_pairs(project, 20, first=20)
    after = written(project, body)
    for split in ("train", "validation"):
        old, new = ({r["prompt_hash"] for r in rows_of(each, "annotations", split)} for each in (before, after))
        assert old < new


def test_gzip_is_written_when_it_is_asked_for_and_nothing_else(project):
    load_pairs(project, 3)
    snapshot = written(project, {**ALL, "formats": ["trl-preference"], "encodings": ["csv.gz", "jsonl.gz"]})
    assert set(snapshot.manifest["files"]) == {"trl-preference/train.csv.gz", "trl-preference/train.jsonl.gz"}
    folder = Path(artifact_storage().path(snapshot.folder))
    assert {path.name for path in (folder / "trl-preference").iterdir()} == {"train.csv.gz", "train.jsonl.gz"}
    plain = written(project, {**ALL, "formats": ["trl-preference"]})
    for ending in ("csv", "jsonl"):
        packed = content(snapshot, "trl-preference", f"train.{ending}.gz")
        assert gzip.decompress(packed) == content(plain, "trl-preference", f"train.{ending}")


def test_long_rows_come_in_smaller_chunks(project, monkeypatch):
    load_pairs(project, 20, length=1000)
    monkeypatch.setattr(reading, "CHUNK", 4)
    monkeypatch.setattr(reading, "CHUNK_CHARACTERS", 2500)
    sizes = []
    snapshot = create_snapshot(project=project, body=ONE, created_by=None)
    write_snapshot(snapshot=snapshot, on_rows=sizes.append)
    steps = [after - before for before, after in zip([0, *sizes], sizes, strict=False)]
    assert steps[0] == 4
    assert set(steps[2:]) == {1}
    assert sizes[-1] == 20


def test_a_writer_that_is_stopped_leaves_nothing_and_the_next_one_finishes(project):
    load_pairs(project, 5)
    snapshot = create_snapshot(project=project, body=ONE, created_by=None)
    folder = Path(artifact_storage().path(f"snapshots/{snapshot.pk}"))

    def stop(rows):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_snapshot(snapshot=snapshot, on_rows=stop)
    assert list(folder.iterdir()) == []
    assert not snapshot.ready
    write_snapshot(snapshot=snapshot)
    assert len(rows_of(snapshot, "annotations")) == 5


def test_what_a_killed_writer_left_is_removed_unless_somebody_is_still_writing_it(project):
    snapshot = create_snapshot(project=project, body=ONE, created_by=None)
    folder = Path(artifact_storage().path(f"snapshots/{snapshot.pk}"))
    for name, age in ((".writing-old", 3600), (".writing-now", 0)):
        (folder / name).mkdir(parents=True)
        (folder / name / "train.jsonl").write_text("{")
        for path in (folder / name / "train.jsonl", folder / name):
            os.utime(path, (time.time() - age,) * 2)
    write_snapshot(snapshot=snapshot)
    assert sorted(path.name for path in folder.iterdir()) == sorted([".writing-now", snapshot.content_hash[:16]])


def test_whoever_comes_second_changes_nothing(project):
    load_pairs(project, 3)
    snapshot = create_snapshot(project=project, body=ONE, created_by=None)
    late = type(snapshot).objects.get(pk=snapshot.pk)

    def overtake(rows):
        if not snapshot.ready:
            write_snapshot(snapshot=snapshot)

    write_snapshot(snapshot=late, on_rows=overtake)
    assert late.content_hash == snapshot.content_hash
    folder = Path(artifact_storage().path(f"snapshots/{snapshot.pk}"))
    assert [path.name for path in folder.iterdir()] == [snapshot.content_hash[:16]]


def test_a_snapshot_whose_job_is_cancelled_never_becomes_ready(project):
    load_pairs(project, 3)
    snapshot = start_snapshot(project=project, body=ONE, created_by=None)
    _, claim = jobs.claim(job_id=snapshot.job.pk, owner="cpu@one")
    folder = Path(artifact_storage().path(f"snapshots/{snapshot.pk}"))
    with pytest.raises(jobs.LeaseLost):  # too late for the callback to notice: all rows are read already
        write_snapshot(snapshot=snapshot, on_rows=lambda rows: jobs.cancel(job=snapshot.job) and None, claim=claim)
    snapshot.refresh_from_db()
    assert (snapshot.ready, list(folder.iterdir()), snapshot.job.state) == (False, [], "cancelled")


def test_a_snapshot_becomes_ready_and_its_job_succeeds_in_one_transaction(project):
    load_pairs(project, 1)
    snapshot = start_snapshot(project=project, body=ONE, created_by=None)
    _, claim = jobs.claim(job_id=snapshot.job.pk, owner="cpu@one")
    write_snapshot(snapshot=snapshot, claim=claim)
    snapshot = type(snapshot).objects.get()
    assert (snapshot.ready, snapshot.job.state, snapshot.job.result) == (
        True,
        "succeeded",
        {"snapshot": str(snapshot.pk)},
    )


def test_the_manifest_says_what_it_was_made_with(project):
    load_pairs(project, 2)
    manifest = written(project, ONE).manifest
    assert manifest["protocol"]["digest"] == project.protocol.digest
    assert manifest["protocol"]["settings"]["annotators"] == 3
    assert set(manifest["software"]) == {"tiebreak", "numpy", "orjson", "pyarrow"}
    (guideline,) = manifest["guidelines"]
    assert (guideline["number"], guideline["labels"], guideline["text"]) == (1, 6, "Read both responses.")
    assert manifest["formats"]["annotations"]["gold"] == "int"


def test_the_card_has_the_figures_and_the_limits(project):
    load_pairs(project, 3)
    Annotation.objects.update(imported=False)
    snapshot = written(project, {**ONE, "name": 'Tides: "autumn" | 2026'})
    with artifact_storage().open(find_document(snapshot=snapshot, name="README.md").name) as stream:
        card = stream.read().decode()
    assert card.startswith("---\npretty_name: 'Tides: \"autumn\" | 2026'\n")
    for part in (
        "3 comparisons with 9 labels by 3 people",
        "| same side | 55.6% of 9",
        "for the response shown first",
        "## Known limits",
        "> Read both responses.",
        "n<1K",
    ):
        assert part in card
