"""Two snapshots side by side: what came, what went, what is labeled differently."""

import json

import pytest

from apps.core.errors import Conflict, InvalidInput
from apps.exports.services import create_snapshot, diff_snapshots
from apps.labeling.consensus import settle
from apps.labeling.models import Annotation
from tests.exports.rows import ALL, ONE, labels, written
from tests.factories import ProjectFactory
from tests.imports.test_imports import load, row

pytestmark = pytest.mark.django_db


def pair(name, *preferences):
    return row(external_id=name, responses=[f"{name} 1", f"{name} 2"], annotations=labels(*preferences))


def test_added_removed_changed_and_unchanged(project):
    load(project, pair("a", 1, 1, 1), pair("c", 2), pair("d", 3, 3, 3))
    before = written(project, ONE)
    load(project, pair("b", -1, -1, -1), pair("ä", 1))
    gone = Annotation.objects.filter(comparison__external_id="d")
    comparison_id = gone[0].comparison_id
    gone.delete()
    settle(comparison_ids=[comparison_id], protocol=project.protocol)
    Annotation.objects.filter(comparison__external_id="c").update(preference=-2, revision=2)
    after = written(project, {**ALL, "formats": ["trl-preference"], "encodings": ["csv"]})
    diff = diff_snapshots(before=before, after=after)
    changes = {change["external_id"]: change for change in diff.changes()}
    assert {name: change["change"] for name, change in changes.items()} == {
        "b": "added",
        "c": "changed",
        "d": "removed",
        "ä": "added",
    }
    assert changes["c"]["before"]["labels"] == [{"annotator": "a0", "revision": 1, "preference": 2}]
    assert changes["c"]["after"]["labels"] == [{"annotator": "a0", "revision": 2, "preference": -2}]
    assert changes["b"]["before"] is None
    assert (changes["b"]["after"]["preference"], changes["d"]["after"]) == (-1, None)
    assert dict(diff.counts) == {"added": 2, "removed": 1, "changed": 1, "unchanged": 1}
    back = diff_snapshots(before=after, after=before)
    assert len(list(back.changes())) == 4
    assert (back.counts["added"], back.counts["removed"]) == (1, 2)


def test_a_prompt_that_moves_to_another_split_is_a_change(project):
    load(project, pair("a", 1, 1, 1))
    diff = diff_snapshots(before=written(project, ONE), after=written(project, {**ONE, "splits": {"test": 1}}))
    (change,) = diff.changes()
    assert (change["before"]["split"], change["after"]["split"]) == ("train", "test")


def test_the_stream_is_one_json_object(project):
    empty = written(project, ONE)
    load(project, pair("a", 1), pair("b", "neither"))
    full = written(project, ONE)
    streamed = json.loads(b"".join(diff_snapshots(before=empty, after=full).stream()))
    assert [change["external_id"] for change in streamed["changes"]] == ["a", "b"]
    assert streamed["changes"][1]["after"]["labels"][0]["preference"] == "neither"
    assert streamed["counts"] == {"added": 2, "removed": 0, "changed": 0, "unchanged": 0}
    nothing = json.loads(b"".join(diff_snapshots(before=full, after=full).stream()))
    assert nothing == {"changes": [], "counts": {"added": 0, "removed": 0, "changed": 0, "unchanged": 2}}


def test_what_cannot_be_compared_says_why(project):
    ready = written(project, ONE)
    unwritten = create_snapshot(project=project, body={"name": "later"}, created_by=None)
    with pytest.raises(Conflict, match="later are not written yet"):
        diff_snapshots(before=ready, after=unwritten)
    with pytest.raises(InvalidInput, match="same project"):
        diff_snapshots(before=ready, after=written(ProjectFactory(), ONE))
    ready.manifest = {**ready.manifest, "documents": {}}
    with pytest.raises(Conflict, match="before snapshots could be compared"):
        diff_snapshots(before=ready, after=ready)
