"""One pair over several rows, one label in each: every label comes in, wherever batches end and whatever breaks off."""

import csv
import io

import pytest

from apps.imports import batches
from apps.imports.models import Import
from apps.imports.options import Options
from apps.imports.services import run_import, start_import_of_items
from apps.labeling.models import Annotation, Consensus, QueueItem
from apps.prompts.models import Comparison, Prompt
from tests.factories import ProjectFactory
from tests.imports.rows import load, load_file, row
from tests.imports.test_going_on import broken_off, figures

pytestmark = pytest.mark.django_db(transaction=True)


def label(number, preference, **changes):
    return {"annotator": f"ann{number}", "preference": preference, **changes}


def by(number, preference, **changes):
    """Return the row of one person about the pair q-1."""
    return row(annotations=[label(number, preference)], **changes)


def between(count):
    return [row(external_id=f"between-{n}", responses=[f"yes {n}", f"no {n}"]) for n in range(count)]


def handed_in(rows, **options):
    return start_import_of_items(
        project=ProjectFactory(), items=rows, created_by=None, options=Options(near_duplicates=True, **options)
    )


def counted(made):
    made.refresh_from_db()
    return {name: made.counts[name] for name in ("created", "updated", "unchanged", "rejected")}


LONG = [by(0, -2), *between(3), by(1, -3), by(1, -3), by(2, -2), by(0, 2), row(), by(2, -2)]
"""Three labels of q-1, with repeats, a contradiction, and rows between them."""


@pytest.mark.parametrize("size", [1, 2, 4, 100])
@pytest.mark.parametrize("dry_run", [False, True])
def test_every_label_of_a_pair_comes_in_wherever_batches_end(monkeypatch, size, dry_run):
    monkeypatch.setattr(batches, "BATCH", size)
    made = handed_in(LONG, dry_run=dry_run)
    run_import(made=made, on_batch=lambda read: None)
    assert counted(made) == {"created": 4, "updated": 2, "unchanged": 3, "rejected": 1}
    (refused,) = made.findings.all()
    assert (refused.line, refused.field) == (8, "/annotations/0")
    assert refused.reason == "'ann0' has another label for this comparison already."
    if dry_run:
        assert not Comparison.objects.exists()
        return
    given = Annotation.objects.order_by("annotator__imported_name").values_list(
        "annotator__imported_name", "preference"
    )
    assert list(given) == [("ann0", -2), ("ann1", -3), ("ann2", -2)]
    settled = Consensus.objects.get()
    assert (settled.annotation_count, settled.status, settled.preference) == (3, "agreed", -2)
    item = QueueItem.objects.get(comparison__external_id="q-1")
    assert (item.taken, item.state) == (3, "complete")


@pytest.mark.parametrize("dry_run", [False, True])
def test_a_run_that_broke_off_between_the_labels_ends_like_an_undisturbed_one(monkeypatch, dry_run):
    monkeypatch.setattr(batches, "BATCH", 3)
    undisturbed, disturbed = handed_in(LONG, dry_run=dry_run), handed_in(LONG, dry_run=dry_run)
    run_import(made=undisturbed, on_batch=lambda read: None)
    expected = figures(undisturbed)
    Comparison.objects.all().delete()
    Prompt.objects.all().delete()
    broken_off(disturbed, 2)
    run_import(made=Import.objects.get(pk=disturbed.pk), on_batch=lambda read: None)
    assert figures(disturbed) == expected


def test_the_same_file_again_changes_nothing(project):
    rows = [by(0, -2), by(1, -3), by(2, -2)]
    assert load(project, *rows).updated == 2
    again = load(project, *rows)
    assert (again.created, again.updated, again.unchanged, again.rejected) == (0, 0, 3, 0)


def test_labels_of_several_rows_join_those_that_are_stored(project):
    load(project, by(0, -2))
    report = load(project, row(), by(1, -3), by(0, -2), by(1, 3), by(2, -1))
    assert (report.updated, report.unchanged, report.rejected) == (2, 2, 1)
    assert Consensus.objects.get().annotation_count == 3


def test_a_changed_pair_takes_the_labels_of_later_rows(project):
    load(project, row())
    changed = {"metadata": {"domain": "chat"}}
    report = load(project, row(**changed), by(0, 1, **changed), by(1, 2, **changed))
    assert (report.created, report.updated) == (0, 3)
    assert Comparison.objects.get().metadata == {"domain": "chat"}
    assert Annotation.objects.count() == 2


def test_consensus_goes_by_when_labels_were_given_and_not_by_their_rows(project):
    days = {0: 4, 1: 3, 2: 2, 3: 1}
    rows = [
        row(annotations=[label(n, preference, submitted_at=f"2026-05-0{days[n]}T12:00:00Z")])
        for n, preference in enumerate([-3, -1, 1, 3])
    ]
    load(project, *rows)
    ids = list(Annotation.objects.order_by("submitted_at").values_list("id", "preference"))
    assert [preference for _, preference in ids] == [3, 1, -1, -3]
    assert Consensus.objects.get().kept == [pk for pk, _ in ids[:3]]


def test_a_mapped_table_with_a_column_of_annotators_brings_every_label(project, tmp_path):
    table = io.StringIO()
    rows = [
        ("1", "Sky?", "Blue.", "Green.", who, said) for who, said in (("a", "A"), ("b", "A"), ("c", "B"), ("c", "A"))
    ]
    csv.writer(table).writerows([("id", "q", "x", "y", "who", "winner"), *rows])
    path = tmp_path / "long.csv"
    path.write_text(table.getvalue())
    mapping = {"external_id": "id", "prompt": "q", "response_1": "x", "response_2": "y"}
    mapping |= {"annotator": "who", "preference": "winner"}
    report = load_file(project, path, options=Options(mapping=mapping))
    assert (report.created, report.updated, report.rejected) == (1, 2, 1)
    assert "'c' has another label" in report.errors[0]["reason"]
    assert sorted(Annotation.objects.values_list("annotator__imported_name", "preference")) == [
        ("a", -1),
        ("b", -1),
        ("c", 1),
    ]


def test_labels_go_to_no_pair_that_somebody_changed_or_deleted_meanwhile(monkeypatch):
    monkeypatch.setattr(batches, "BATCH", 2)
    made = handed_in([row(), row(external_id="q-2", responses=["a", "b"]), by(0, 1), by(0, 1, external_id="q-3")])

    def interfere(read):
        if read == 2:
            Comparison.objects.filter(external_id="q-1").update(reference="Another.")
            Comparison.objects.filter(external_id="q-2").delete()

    run_import(made=made, on_batch=interfere)
    assert counted(made) == {"created": 3, "updated": 0, "unchanged": 0, "rejected": 1}
    assert "was changed or deleted since" in made.findings.get(kind="rejected").reason
    assert list(Annotation.objects.values_list("comparison__external_id", flat=True)) == ["q-3"]
