"""The pages of extractions: what to set without a model, a run with all its steps, hostile words in every place."""

import re

import pytest

from apps.endpoints.services import create_endpoint
from apps.jobs.models import Job
from apps.rules.models import RuleExtraction
from tests.language_model_server import Said
from tests.rule_extraction.conftest import imported, pair
from tests.rule_extraction.scripted import Extractor
from worker.tasks.rule_reading import read_rules
from worker.tasks.rule_verification import verify_responses

pytestmark = pytest.mark.django_db(transaction=True)
PAGE = "/projects/tides/rules/extractions/"
EVIL = "<script>alert(1)</script>"


def test_without_a_model_the_page_says_what_to_set(client, manager):
    client.force_login(manager)
    html = client.get(PAGE).content.decode()
    assert "This needs a language model, and you have set none up." in html
    assert 'href="/account/models/"' in html
    assert client.post(PAGE, {"endpoint": "1", "comparisons": 5, "seed": 1}).status_code == 422


def test_a_run_is_started_watched_and_read_step_by_step(client, server, manager, project, annotator):
    imported(project, [pair(n) for n in range(4)])
    endpoint = create_endpoint(owner=manager, name=f"Mine {EVIL}", model="m", base_url=server.url)
    client.force_login(manager)
    assert "Mine &lt;script&gt;" in client.get(PAGE).content.decode()
    form = {"endpoint": endpoint.pk, "comparisons": 4, "seed": 1, "strength": 1, "source": "reasoning"}
    refused = client.post(PAGE, {**form, "domain": "law"})
    assert (refused.status_code, "fits the selection" in refused.content.decode()) == (422, True)
    started = client.post(PAGE, form)
    assert started.status_code == 302
    page = started.headers["Location"]
    assert 'hx-trigger="every 2s"' in client.get(page).content.decode()

    script = Extractor()

    def evil(body):
        said = script(body)
        if "why" in body["messages"][0]["content"]:
            return Said(f"<think>{EVIL} the winner has better tone.</think>{EVIL}")
        return Said(f'["{EVIL} has good tone."]') if "into rules" in body["messages"][0]["content"] else said

    server.answer = evil
    extraction = RuleExtraction.objects.get()
    read_rules(extraction.job_id)
    extraction = RuleExtraction.objects.select_related("job", "rule_set").get()
    assert extraction.job.state == Job.State.SUCCEEDED, extraction.job.error
    fragment = client.get(page, headers={"HX-Request": "true"})
    assert (fragment.status_code, "<html" in fragment.content.decode()) == (286, False)
    item = client.get(f"{page}1/").content.decode()
    assert "the winner has better tone." in item
    assert "[RESPONSE 1 " in item
    assert "that people prefer the one it saw as" in item
    for path in (PAGE, page, f"{page}1/", f"/projects/tides/rules/{extraction.rule_set.version}/"):
        html = client.get(path).content.decode()
        assert EVIL not in html
    assert "&lt;script&gt;" in item
    assert client.get(f"{page}99/").status_code == 404
    assert client.get(f"{PAGE}999/").status_code == 404

    assert "Check all responses" in client.get(f"/projects/tides/rules/{extraction.rule_set.version}/").content.decode()
    server.answer = lambda body: Said('{"verdict": "yes"}')
    verify = f"/projects/tides/rules/{extraction.rule_set.version}/verify/"
    refused = client.post(verify, {"endpoint": endpoint.pk, "repetitions": "9"}, follow=True)
    assert "a number from 1 to 5" in refused.content.decode()
    checked = client.post(verify, {"endpoint": endpoint.pk, "repetitions": "2"})
    assert Job.objects.get(kind="verification").inputs["repetitions"] == 2
    verify_responses(Job.objects.get(kind="verification").pk)
    create_endpoint(owner=manager, name="Another", model="m2", base_url=server.url)
    html = client.get(f"/projects/tides/rules/{extraction.rule_set.version}/").content.decode()
    assert re.findall(r'<option value="(\d+)" selected>', html) == [str(endpoint.pk)]
    assert "The verdicts of m count." in html
    assert "verdicts" in client.get(checked.headers["Location"]).content.decode()

    client.force_login(annotator)
    for path in (PAGE, page, f"{page}1/"):
        assert client.get(path).status_code == 403
