"""The product's promise in a real browser, against the running processes: labels in, a model and a dataset out."""

import json
from pathlib import Path

import pytest
from playwright.sync_api import expect

from tests.e2e.browser import ATTRIBUTES, Person, chromium
from tests.e2e.rest import Rest
from tests.e2e.running import wait_until

SLUG = "loop"
NEW_PAIRS = [
    {
        "external_id": f"new-{number}",
        "messages": [{"role": "user", "content": f"What is {number} plus {number}? Say why."}],
        "responses": [
            {"text": f"It is {2 * number}, because adding a number to itself doubles it.", "model": "secret-model-a"},
            {"text": f"Probably {2 * number + 1}, but who knows.", "model": "secret-model-b"},
        ],
        "metadata": {"domain": "secret-domain"},
    }
    for number in (3, 4, 5)
]


def labeled_rows():
    """Return the demo's rows on which people agree, to start from."""
    for path in sorted(Path("demo").glob("*.jsonl")):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            votes = [annotation["preference"] for annotation in row.get("annotations") or []]
            if len(votes) == 3 and "neither" not in votes and max(votes) - min(votes) <= 2:
                yield row


@pytest.fixture(scope="module")
def rest(tiebreak):
    """Return the manager's API of a project with labels, a first model, and three new pairs in the queue."""
    rest = Rest(tiebreak.base_url, tiebreak.token("manager", "admin"))
    rest.post("projects/", {"name": "Loop", "slug": SLUG, "guideline": "# Be fair\n\nRead **both** responses."})
    for username in ("annotator1", "annotator2", "annotator3"):
        rest.post(f"projects/{SLUG}/members/", {"username": username, "role": "annotator"})
    rest.post(f"projects/{SLUG}/members/", {"username": "researcher", "role": "researcher"})
    imported = rest.post(f"projects/{SLUG}/imports/", {"items": [*labeled_rows(), *NEW_PAIRS]})
    result = rest.finished(imported["job"])["result"]
    assert result["rejected"] == 0
    return rest


def label(person, number_of_pair, by_keyboard):
    """Answer one pair as its texts deserve; return what was typed and in which order it was seen."""
    shown = person.shown_texts()
    good_first = "because adding" in shown[0]
    good, bad = ("1", "2") if good_first else ("2", "1")
    why = f"@Response {good} gives the right sum and a reason, @Response {bad} is off by one. Pair {number_of_pair}."
    ratings = (4, 1) if good_first else (1, 4)
    if by_keyboard:
        person.answer_by_keyboard(preference_key="1" if good_first else "6", ratings=ratings, justification=why)
    else:
        preference = "-3" if good_first else "3"
        person.answer_with_the_mouse(preference=preference, ratings=ratings, justification=why)
    return {"prompt_good": shown[0 if good_first else 1], "why": why, "swapped": not good_first}


@pytest.mark.timeout(420)  # with the start of Tiebreak
def test_three_people_label_and_a_model_and_a_dataset_come_out(tiebreak, rest):
    rest.finished(rest.post(f"projects/{SLUG}/training-runs/")["job"])
    rest.idle(SLUG)
    (first_model,) = rest.all(f"projects/{SLUG}/reward-models/")
    before = {row["response"]: row["value"] for row in rest.all(f"projects/{SLUG}/signals/")}
    assert len(before) > 60

    typed = {}
    with chromium() as browser:
        for username in ("annotator1", "annotator2", "annotator3"):
            person = Person.sign_in(browser, tiebreak.base_url, username, tiebreak.password)
            person.page.goto(f"/projects/{SLUG}/queue/")
            for number in (1, 2, 3):
                html = person.page.content()
                assert "secret-model" not in html
                assert "secret-domain" not in html
                assert "new-" not in html
                done = label(person, number, by_keyboard=username == "annotator1" and number == 1)
                typed.setdefault(done["prompt_good"], {})[username] = done
                if number < 3:
                    expect(person.page.locator("#announcer")).to_have_text("Saved. Next comparison.")
                    expect(person.page.get_by_label("Why?")).to_have_value("")
            expect(person.page.get_by_text("Nothing waits for you")).to_be_visible()
            assert person.console == []

        for pair in NEW_PAIRS:
            (comparison,) = rest.all(f"projects/{SLUG}/comparisons/", external_id=pair["external_id"])
            assert comparison["consensus"]["preference"] == -3
            assert (comparison["state"], comparison["annotation_count"]) == ("complete", 3)

        manager = Person.sign_in(browser, tiebreak.base_url, "manager", tiebreak.password)
        manager.page.goto(f"/projects/{SLUG}/")
        manager.page.get_by_role("button", name="Retrain now").click()

        def second_version():
            return next((model for model in rest.all(f"projects/{SLUG}/reward-models/") if model["version"] == 2), None)

        second_model = wait_until(second_version, 120, "a second version is registered")
        assert second_model["current_when_made"] == first_model["id"]
        assert second_model["parent"] is None  # it starts from scratch
        if second_model["state"] != "current":
            assert "Not better" in second_model["decision"]
            rest.post(f"reward-models/{second_model['id']}/promote/")
        rest.idle(SLUG)
        after = {
            row["response"]: row["value"]
            for row in rest.all(f"projects/{SLUG}/signals/")
            if row["scorer"] == second_model["scorer"]
        }
        assert set(after) == set(before)
        assert all(after[response] != before[response] for response in before)

        snapshot = rest.post(f"projects/{SLUG}/snapshots/", {"name": "All", "splits": {"train": 1.0}})
        rest.finished(snapshot["job"])
        manager.page.goto(f"/projects/{SLUG}/snapshots/")
        rows = {name: download(manager, snapshot["id"], name) for name in ("annotations", "helpsteer2-preference")}
        assert manager.console == []

    exported = {row["external_id"]: row for row in rows["annotations"]}
    by_prompt = {row["prompt"]: row for row in rows["helpsteer2-preference"]}
    for pair in NEW_PAIRS:
        row = exported[pair["external_id"]]
        people = typed[pair["responses"][0]["text"]]
        for annotation in row["annotations"]:
            done = people[annotation["annotator"]]
            assert annotation["preference"] == -3
            assert annotation["shown_order"] == ([2, 1] if done["swapped"] else [1, 2])
            assert annotation["ratings"] == [dict.fromkeys(ATTRIBUTES, 4), dict.fromkeys(ATTRIBUTES, 1)]
            assert annotation["justification"].startswith("@Response 1 gives the right sum")
            if not done["swapped"]:
                assert annotation["justification"] == done["why"]
        released = by_prompt[pair["messages"][0]["content"]]
        assert released["preference_strength"] == -3
        assert released["response_1"] == pair["responses"][0]["text"]
        assert released["preference_statement"].startswith("@Response 1 gives the right sum")


def download(person, snapshot_id, export_format):
    """Download a file of the snapshot through the page, as a person does."""
    with person.page.expect_download() as waiting:
        person.page.locator(f"a[href*='/{snapshot_id}/'][href*='{export_format}/train.jsonl']").first.click()
    return [json.loads(line) for line in Path(waiting.value.path()).read_text().splitlines()]
