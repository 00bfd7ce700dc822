"""What a project's report says: of planted people, of what the product stores, and of hardly anything."""

import io
import json
import threading
from datetime import timedelta

import numpy as np
import pytest
from django.db import connection
from django.utils import timezone

from apps.imports.services import import_stream
from apps.labeling.consensus import refresh_consensus
from apps.labeling.leasing import lease_next
from apps.labeling.models import Annotation, Assignment, Consensus, QueueItem
from apps.labeling.services import skip_assignment, submit_annotation
from apps.projects.services import update_project
from apps.quality import columns
from apps.quality.columns import read_annotations
from apps.quality.models import QualityReport
from apps.quality.services import FRESH, project_quality
from tests.factories import ComparisonFactory, ProjectFactory, ResponseFactory, UserFactory, answer, ratings
from tests.quality.conftest import store
from tests.quality.simulation import simulate
from worker.core.label_quality import with_others

pytestmark = pytest.mark.django_db


def person_of(quality, user):
    return quality.annotator(user.pk)


def label(project, user, swapped=False, **changes):
    """Let somebody answer the next pair, in the order asked for."""
    lease = lease_next(project=project, annotator=user, resume=False)
    lease.swapped = swapped
    lease.save()
    return submit_annotation(assignment=lease, body=answer(**changes))


def test_planted_people_are_found_and_nobody_else(project):
    made = simulate(seed=11, habits=["honest"] * 7 + ["first", "longer", "random"])
    people = store(project, made, pairs_with_gold=set(range(0, 300, 5)))
    quality = project_quality(project=project)
    remarks = {person.username: set(person_of(quality, person)["remarks"]) for person in people}
    assert "first_side" in remarks["person-7-first"]
    assert "longer_side" in remarks["person-8-longer"]
    assert remarks["person-9-random"] & {"disagrees_with_others", "misses_control_items"}
    assert [name for name, said in remarks.items() if name.endswith("honest") and said] == []
    # one of ten people goes by the position, and one by the length: the project shows both
    assert quality.bias["position"]["first_side"]["share"] > 0.5
    assert quality.bias["length"]["longer_side"]["share"] > 0.5
    agreement = quality.agreement
    values = [agreement[stage]["kappa_quadratic"]["value"] for stage in ("raw", "most_similar", "after_consensus")]
    assert values == sorted(values)
    assert agreement["raw"]["votes"] == 960  # control items are left out
    counts = quality.comparisons
    assert counts["control_items"] == 60
    assert sum(counts["by_status"].values()) == 240
    assert quality.bias["consistency"]["same_way"]["share"] == 1.0


def test_what_is_read_is_what_the_rows_say(project):
    people = store(project, simulate(seed=3, habits=["honest"] * 5, pairs=30), pairs_with_gold={1, 2})
    Annotation.objects.filter(pk__in=Annotation.objects.values("pk")[:4]).update(preference=None, neither=True)
    Annotation.objects.filter(annotator=people[0]).update(active_seconds=None, pasted_characters=4)
    read = read_annotations(project, expected=120)
    comparison = "comparison__"
    fields = ["comparison", "annotator", "preference", "swapped", "active_seconds", "pasted_characters"]
    fields += [f"{comparison}{name}" for name in ("response_1__text", "response_2__text", "gold", "consensus__kept")]
    fields += ["ratings_1", "pk", "justification", f"{comparison}queue_item__state"]
    rows = {row[:2]: row[2:] for row in Annotation.objects.values_list(*fields)}
    assert len(read) == len(rows) == 120
    for at in range(len(read)):
        row = rows[read.comparison[at], read.annotator[at]]
        preference, swapped, seconds, pasted, first, second, gold, kept, rated, pk, justification, state = row
        numbers = [read.preference[at], read.active_seconds[at], read.pasted[at], read.gold[at]]
        assert [None if np.isnan(number) else number for number in numbers] == [preference, seconds, pasted, gold]
        assert (read.swapped[at], read.kept[at], read.control[at]) == (swapped, pk in kept, state == "control")
        lengths = (read.length_1[at], read.length_2[at], read.characters[at])
        assert lengths == (len(first), len(second), len(justification))  # characters, not bytes
        assert read.ratings_1[at].tolist() == list(rated.values())


def test_a_large_project_is_read_in_parts(project, monkeypatch):
    store(project, simulate(seed=4, habits=["honest"] * 4, pairs=25))
    whole = read_annotations(project, expected=100)
    monkeypatch.setattr(columns, "PART", 7)
    parts = read_annotations(project, expected=100)
    assert len(parts) == len(whole) == 100
    assert sorted(zip(parts.comparison, parts.annotator, parts.preference, strict=True)) == sorted(
        zip(whole.comparison, whole.annotator, whole.preference, strict=True)
    )
    assert [found.sum() for found in with_others(parts)] == [found.sum() for found in with_others(whole)]


def test_a_project_without_answers_has_a_report_without_figures(project):
    quality = project_quality(project=project)
    assert (quality.annotators, quality.rating_agreement) == ([], [])
    assert quality.agreement["raw"]["exact"] == {"value": None, "interval": None}
    assert quality.bias["position"]["first_side"] == {"count": 0, "of": 0, "share": None, "interval": None}
    json.dumps(quality.bias, allow_nan=False)


def test_one_answer_is_a_report_too(project, annotator):
    ComparisonFactory(project=project)
    label(project, annotator, swapped=True, preference=-2)
    quality = project_quality(project=project)
    person = person_of(quality, annotator)
    assert person["first_side"]["count"] == 1
    assert person["agrees_with_others"] == {"count": 0, "of": 0, "share": None, "interval": None}
    assert person["preferences"]["2"] == 1  # canonical: the second was shown first
    assert quality.agreement["raw"]["units"] == 0
    assert quality.bias["length"]["longer_side"]["interval"] is None
    json.dumps([quality.agreement, quality.bias, quality.annotators], allow_nan=False)


def test_neither_skips_flags_and_earlier_revisions(project, annotator):
    project.protocol_settings = {"undo_minutes": 60}
    project.save()
    ComparisonFactory.create_batch(3, project=project)
    label(project, annotator, preference="neither")
    for reason in ("needs_expertise", "pii"):
        lease = lease_next(project=project, annotator=annotator, resume=False)
        skip_assignment(assignment=lease, reason=reason)
    Annotation.objects.filter(annotator=annotator).update(is_current=False)
    assert project_quality(project=project).annotations["total"] == 0
    Annotation.objects.filter(annotator=annotator).update(is_current=True)
    QualityReport.objects.all().delete()
    quality = project_quality(project=project)
    person = person_of(quality, annotator)
    assert [person[name]["count"] for name in ("neither", "skipped", "flagged")] == [1, 2, 1]
    assert person["skipped"]["of"] == 3
    assert quality.annotations["neither"] == 1
    assert quality.agreement["raw"]["mean_preference"] is None


def test_control_items_and_repeats_count_where_they_belong(project, annotator):
    project.protocol_settings = {"control_rate": 0.5}
    project.save()
    ComparisonFactory(project=project, gold=-3)
    refresh_consensus()
    lease = None
    while lease is None:  # half of all draws are for control items, and nothing else is there
        lease = lease_next(project=project, annotator=annotator, resume=False)
    first = submit_annotation(assignment=lease, body=answer(preference=-1 if not lease.swapped else 1))
    again = Assignment.objects.create(
        project=project,
        comparison=lease.comparison,
        annotator=annotator,
        swapped=not lease.swapped,
        drawn="repeat",
        repeat_of=lease,
        guideline_version=lease.guideline_version,
        lease_expires_at=timezone.now() + timedelta(hours=1),
    )
    submit_annotation(assignment=again, body=answer(preference=-1 if not lease.swapped else 1))
    quality = project_quality(project=project)
    person = person_of(quality, annotator)
    assert first.preference == -1
    assert (person["control_items"]["count"], person["control_items"]["of"]) == (1, 1)
    assert (person["agrees_with_self"]["count"], person["agrees_with_self"]["of"]) == (
        0,
        1,
    )  # what stayed is the side of the page
    assert (person["annotations"], quality.annotations["total"], quality.annotations["repeats"]) == (1, 1, 1)
    assert quality.comparisons["by_status"]["pending"] == 0


def test_imported_labels_have_no_order_and_may_be_ties(project):
    labels = [{"annotator": name, "preference": value} for name, value in (("=a1", 0), ("a2", 2), ("a3", 1))]
    row = {"external_id": "x", "prompt": "?", "responses": [{"text": "no"}, {"text": "yes"}], "annotations": labels}
    import_stream(project=project, stream=io.BytesIO(json.dumps(row).encode()))
    quality = project_quality(project=project)
    position = quality.bias["position"]
    assert (position["first_side"]["of"], position["without_order"]) == (0, 2)
    assert (quality.annotations["imported"], quality.annotations["ties"]) == (3, 1)
    assert quality.bias["length"]["longer_side"]["count"] == 2
    assert {row["annotator"] for row in quality.annotators} == {"=a1", "a2", "a3"}


def test_excluded_comparisons_are_counted_with_their_reason(project):
    ComparisonFactory(project=project)
    project.protocol_settings = {"annotators": 2, "max_annotators": 2}
    project.save()
    QueueItem.objects.update(wanted=2)
    for preference in (-3, 3):
        label(project, UserFactory(), preference=preference)
    counts = project_quality(project=project).comparisons
    assert counts["by_status"]["excluded"] == 1
    (reason,) = counts["excluded_reasons"]
    assert reason["count"] == 1
    assert reason["reason"] == Consensus.objects.get().excluded_reason != ""


def test_versions_of_the_guideline_stand_side_by_side(project, manager):
    ComparisonFactory.create_batch(2, project=project)
    label(project, UserFactory(), preference=-3)
    update_project(project=project, actor=manager, guideline="Now with care.")
    label(project, UserFactory(), preference=1)
    versions = project_quality(project=project).bias["guideline_versions"]
    assert [(row["version"], row["annotations"], row["mean_strength"]) for row in versions] == [
        (1, 1, 3.0),
        (2, 1, 1.0),
    ]


def test_other_projects_and_foreign_ratings_change_nothing(project, annotator):
    other = ProjectFactory()
    ComparisonFactory(project=project)
    ComparisonFactory(project=other)
    label(project, annotator)
    label(other, UserFactory())
    Annotation.objects.filter(project=project).update(
        ratings_1={"helpfulness": 3, "'; DROP TABLE": 2, "%s": 1}, ratings_2={}
    )
    quality = project_quality(project=project)
    assert quality.annotations["total"] == 1
    assert person_of(quality, annotator)["same_ratings"]["of"] == 0


def test_a_project_may_rate_something_else(project, annotator):
    names = ["tone", "name_0", "select"]
    levels = ["0", "1", "2", "3", "4"]
    project.protocol_settings = {"attributes": [{"name": name, "label": name, "levels": levels} for name in names]}
    project.save()
    pair = ComparisonFactory(project=project)
    for user in (annotator, UserFactory()):
        lease = lease_next(project=project, annotator=user, resume=False)
        given = dict.fromkeys(project.protocol.attribute_names, 3)
        submit_annotation(assignment=lease, body=answer(ratings={"1": given, "2": given}))
    quality = project_quality(project=project)
    assert [row["attribute"] for row in quality.rating_agreement] == list(project.protocol.attribute_names)
    assert quality.bias["consistency"] is None
    assert pair.annotations.count() == 2


def test_long_texts_stay_where_they_are(project, annotator, django_assert_max_num_queries):
    pair = ComparisonFactory(project=project)
    pair.response_1.text = "x" * 3_000_000
    pair.response_1.save()
    label(project, annotator)
    with django_assert_max_num_queries(20) as asked:
        quality = project_quality(project=project)
    assert quality.bias["length"]["by_ratio"][-1]["longer_side"]["of"] == 1
    assert not any("SELECT" in query["sql"] and '"text"' in query["sql"] for query in asked.captured_queries)


# --- When it is computed ---


def test_a_report_is_kept_for_a_minute(project, annotator, django_assert_num_queries):
    ComparisonFactory.create_batch(2, project=project)
    label(project, annotator)
    first = project_quality(project=project)
    label(project, annotator)
    with django_assert_num_queries(1):
        again = project_quality(project=project)
    assert (again.computed_at, again.annotations) == (first.computed_at, first.annotations)
    QualityReport.objects.update(computed_at=timezone.now() - FRESH - timedelta(seconds=1))
    assert project_quality(project=project).annotations["total"] == 2


def test_the_number_of_queries_does_not_grow_with_people(project, django_assert_max_num_queries):
    store(project, simulate(seed=2, habits=["honest"] * 30, pairs=40))
    with django_assert_max_num_queries(16):
        quality = project_quality(project=project)
    assert len(quality.annotators) == 30


def test_what_an_older_version_stored_is_computed_again(project):
    QualityReport.objects.create(project=project, version=0, body={"old": True}, computed_at=timezone.now())
    assert project_quality(project=project).annotators == []


def test_the_stored_report_is_the_report(project):
    store(project, simulate(seed=8, habits=["honest"] * 6, pairs=30))
    computed = project_quality(project=project)
    stored = project_quality(project=project)
    computed, stored = [json.dumps(found.to_dict(), default=str) for found in (computed, stored)]
    assert json.loads(computed) == json.loads(stored)


@pytest.mark.django_db(transaction=True)
def test_while_somebody_computes_others_get_what_there_is(project):
    old = project_quality(project=project)
    QualityReport.objects.update(computed_at=timezone.now() - timedelta(hours=1))
    held, done = threading.Event(), threading.Event()

    def compute_slowly() -> None:
        from django.db import transaction

        with transaction.atomic():
            list(QualityReport.objects.select_for_update())
            held.set()
            done.wait(20)
        connection.close()

    thread = threading.Thread(target=compute_slowly)
    thread.start()
    try:
        assert held.wait(20)
        shown = project_quality(project=project)
    finally:
        done.set()
        thread.join()
    assert shown.computed_at < old.computed_at
    assert project_quality(project=project).computed_at >= old.computed_at


def test_ratings_of_one_person_are_held_against_another(project):
    ComparisonFactory(project=project)
    ComparisonFactory(project=project, response_2=ResponseFactory(text="A much longer answer than the other one."))
    for low in (1, 2, 1):
        person = UserFactory()
        for _ in range(2):
            label(project, person, ratings={"1": ratings(low), "2": ratings(4)})
    found = project_quality(project=project).rating_agreement
    assert {row["responses"] for row in found} == {4}
    assert all(row["raw"]["value"] > 0.5 for row in found)
