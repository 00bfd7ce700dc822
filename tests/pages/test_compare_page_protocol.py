"""What the project's protocol and the reader's language make of the page an annotator lives in."""

import re

from django.utils import translation

from apps.labeling.forms import wording
from apps.labeling.models import Annotation, Assignment
from apps.labeling.services import save_draft
from apps.projects.models import Project
from tests.pages.conftest import posted

QUEUE = "/projects/tides/queue/"


def test_everything_ticked_and_pasted_is_stored_with_the_response_it_belongs_to(as_user, annotator, pair, lease):
    assignment = lease(swapped=True)
    body = posted() | {"problem-1-repetition": "on", "problem-1-unsafe": "on", "problem-2-false_premise": "on"}
    body |= {"confidence": 3, "pasted_characters": 12}
    as_user(annotator).post(f"/assignments/{assignment.pk}/submit/", body)
    stored = Annotation.objects.get()
    assert (stored.problems_2, stored.problems_1) == (["repetition", "unsafe"], ["false_premise"])
    assert (stored.confidence, stored.pasted_characters) == (3, 12)


def test_every_word_and_every_group_comes_from_the_protocol(as_user, annotator, pair):
    attribute = {"name": "charm", "label": "<Charm>", "levels": ["none", "little", "some", "much", "all"]}
    Project.objects.update(
        protocol_settings={
            "attributes": [attribute],
            "response_flags": [],
            "confidence": [],
            "preference_question": "Which would you send?",
            "justification_question": "Tell us more",
            "skip_reasons": [{"name": "tired", "label": "I am tired", "invalid": False}],
        }
    )
    html = as_user(annotator).get(QUEUE).content.decode()
    assert "<legend>&lt;Charm&gt;</legend>" in html
    assert "Which would you send?" in html
    assert "Tell us more" in html
    assert "I am tired" in html
    assert 'id="reason-invalid"' not in html
    assert 'type="checkbox"' not in html
    assert 'name="confidence"' not in html
    assert html.count('type="radio"') == 2 * 5 + 7 + 1
    assert "Helpfulness" not in html


def test_a_projects_own_wording_is_shown_as_it_is():
    assert wording("") == ""
    with translation.override("de"):
        assert wording("Our very own wording") == "Our very own wording"


def test_texts_take_their_own_direction(as_user, annotator, pair):
    html = as_user(annotator).get(QUEUE).content.decode()
    for element in ('<div class="prose text-rendered"', '<pre class="text-raw"', '<textarea id="justification"'):
        assert html.count(element) == len(re.findall(rf"{element}[^>]*dir=\"auto\"", html)) > 0


def test_each_project_and_language_shows_its_own_questions(as_user, annotator, project, pair):
    """The questions without an answer are kept between pages: by protocol and language, while they are blank."""
    client = as_user(annotator)
    assert "Which one is better?" in client.get("/projects/tides/queue/").content.decode()
    german = client.get("/projects/tides/queue/", headers={"accept-language": "de"}).content.decode()
    assert "Which one is better?" not in german
    project.protocol_settings = {"preference_question": "Which <b>tide</b> is higher?"}
    project.save()
    html = client.get("/projects/tides/queue/").content.decode()
    assert "Which &lt;b&gt;tide&lt;/b&gt; is higher?" in html
    assert " checked" not in html
    save_draft(assignment=Assignment.objects.get(), body={"preference": 2})
    assert client.get("/projects/tides/queue/").content.decode().count(" checked") == 1
    save_draft(assignment=Assignment.objects.get(), body={})
    assert " checked" not in client.get("/projects/tides/queue/").content.decode()
