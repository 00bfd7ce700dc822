"""The settings: what the form shows is changed, what it does not show is kept."""

import pytest

from apps.projects.models import AuditEvent
from apps.projects.protocol import Protocol

PATH = "/projects/tides/settings/"
DEFAULTS = {
    "name": "Tides",
    "annotators": 3,
    "max_annotators": 5,
    "spread_limit": 2,
    "least_words": 10,
    "most_words": 300,
    "flags_to_close": 2,
    "lease_minutes": 30,
    "undo_minutes": 30,
    "annotations_per_person": 0,
    "annotations_per_day": 0,
    "control_rate": 0.0,
    "repeat_rate": 0.0,
    "confidence": "on",
}


def send(client, **changes):
    fields = {name: value for name, value in {**DEFAULTS, **changes}.items() if value is not None}
    return client.post(PATH, fields)


def test_the_form_shows_the_protocol_as_it_is(as_user, manager, project):
    project.protocol_settings = {"annotators": 4, "justification_words": [5, 80], "confidence": []}
    project.save()
    html = as_user(manager).get(PATH).content.decode()
    for name, value in (("annotators", "4"), ("max_annotators", "5"), ("least_words", "5"), ("most_words", "80")):
        assert f'name="{name}" value="{value}"' in html, name
    assert "checked" not in html


def test_saving_what_is_shown_changes_nothing(as_user, manager, project):
    reply = send(as_user(manager))
    assert reply.headers["Location"] == PATH
    project.refresh_from_db()
    assert (project.protocol_settings, project.protocol) == ({}, Protocol())


def test_every_field_is_saved_and_everything_else_is_kept(as_user, manager, project):
    project.protocol_settings = {"preference_question": "Which is truer?", "spread_limit": 1}
    project.save()
    changes = {
        "name": "Tides and waves",
        "annotators": 4,
        "max_annotators": 7,
        "spread_limit": 3,
        "least_words": 0,
        "most_words": 50,
        "flags_to_close": 1,
        "lease_minutes": 20,
        "undo_minutes": 0,
        "annotations_per_person": 900,
        "annotations_per_day": 60,
        "control_rate": 0.05,
        "repeat_rate": 0.1,
        "confidence": None,
    }
    assert send(as_user(manager), **changes).status_code == 302
    project.refresh_from_db()
    words = [changes.pop("least_words"), changes.pop("most_words")]
    assert project.name == changes.pop("name")
    expected = {"preference_question": "Which is truer?", **changes, "justification_words": words, "confidence": []}
    assert project.protocol_settings == expected
    logged = AuditEvent.objects.get(project=project)
    assert (logged.actor, logged.verb, logged.detail["protocol"]) == (manager, "changed the project", expected)


def test_asking_for_confidence_again_brings_the_wordings_back(as_user, manager, project):
    client = as_user(manager)
    send(client, confidence=None)
    project.refresh_from_db()
    assert project.protocol.confidence == ()
    send(client)
    project.refresh_from_db()
    assert project.protocol.confidence == Protocol().confidence


def test_own_wordings_of_confidence_are_kept(as_user, manager, project):
    project.protocol_settings = {"confidence": ["no", "yes"]}
    project.save()
    send(as_user(manager), annotators=2)
    project.refresh_from_db()
    assert project.protocol.confidence == ("no", "yes")


@pytest.mark.parametrize(
    ("changes", "field", "said"),
    [
        ({"annotators": 6}, "max_annotators", "Must not be smaller than annotators."),
        ({"annotators": 0}, "annotators", "greater than or equal to 1"),
        ({"lease_minutes": "soon"}, "lease_minutes", "Enter a whole number."),
        ({"control_rate": "0.9"}, "control_rate", "less than or equal to 0.5"),
        ({"repeat_rate": "nan"}, "repeat_rate", "Enter a number."),
        ({"least_words": 90, "most_words": 10}, "most_words", "the least must not be more than the most"),
        ({"name": ""}, "name", "This field is required."),
        ({"name": "x" * 121}, "name", "at most 120 characters"),
        ({"undo_minutes": None}, "undo_minutes", "This field is required."),
    ],
)
def test_what_is_wrong_stands_at_its_field_and_nothing_is_saved(as_user, manager, project, changes, field, said):
    reply = send(as_user(manager), **changes)
    html = reply.content.decode()
    assert reply.status_code == 422
    after = html[html.index(f'id="id_{field}"') :]
    assert said in after[: after.index("</div>")]
    project.refresh_from_db()
    assert (project.name, project.protocol_settings) == ("Tides", {})


def test_an_older_version_of_the_guideline_can_be_read(as_user, manager, annotator, project):
    as_user(manager).post("/projects/tides/guideline/", {"text": "Read both, twice."})
    client = as_user(annotator)
    old = client.get("/projects/tides/guideline/?version=1").content.decode()
    assert "Read both responses." in old
    assert "The current one is version 2." in old
    assert "Read both, twice." in client.get("/projects/tides/guideline/").content.decode()
    for number in ("3", "0", "x", "9" * 30):
        assert client.get(f"/projects/tides/guideline/?version={number}").status_code == 404
