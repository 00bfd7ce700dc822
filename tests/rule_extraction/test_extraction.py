"""Extraction by REST and in the worker: what is chosen, what is asked, what is kept, and what can go wrong."""

import json

import pytest

from apps.core.errors import Conflict
from apps.endpoints.models import ModelEndpoint
from apps.jobs.models import Job
from apps.rules.extraction import MERGE_GROUP, Selection, asked_of, chosen, start_reading
from apps.rules.models import RuleExtraction
from apps.signals.models import Scorer, Signal
from tests.api.conftest import Api, pointers, problem
from tests.language_model_server import Said
from tests.rule_extraction.conftest import imported, pair
from tests.rule_extraction.scripted import Extractor
from worker.tasks.rule_reading import read_rules

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture
def pairs(project):
    imported(project, [pair(n, preference=(-2, 1)[n % 2]) for n in range(12)])


RULES = Extractor()


def extract(project, manager, endpoint, **selection):
    """Start an extraction and do its job; return it as it is then."""
    made = start_reading(
        project=project,
        endpoint=str(endpoint.pk),
        selection=Selection(**{"comparisons": 12, **selection}),
        seed=1,
        created_by=manager,
    )
    read_rules(made.job_id)
    return RuleExtraction.objects.select_related("job", "rule_set").get(pk=made.pk)


def asked(server, words):
    """Return what the model was asked in the stage whose task says these words."""
    return [body["messages"][1]["content"] for body in server.got if words in body["messages"][0]["content"]]


def test_rest_starts_it_and_its_result_is_a_draft_whose_rules_name_their_sources(
    server, endpoint, project, manager, pairs
):
    server.answer = Extractor()
    api = Api(manager, scope="write")
    wanted = {"endpoint": str(endpoint.pk), "comparisons": 12, "seed": 3}
    wanted |= {"not_applicable_is_yes": False, "reward_weight": 4, "reward_offset": 0.5}
    reply = api.post("projects/tides/rule-extractions/", wanted)
    assert reply.status_code == 202, reply.content
    again = api.post("projects/tides/rule-extractions/", wanted)
    assert again.json()["job"]["id"] == reply.json()["job"]["id"]
    read_rules(int(reply.json()["job"]["id"]))
    job = api.get(f"jobs/{reply.json()['job']['id']}/").json()
    assert job["state"] == "succeeded", job["error"]
    rules = api.get(f"rule-sets/{job['result']['rule_set']}/").json()
    assert (rules["state"], rules["origin"]) == ("draft", "language_model")
    assert {rule["kind"] for rule in rules["rules"]} == {"language_model"}
    sources = [pk for rule in rules["rules"] for pk in rule["sources"]["comparisons"]]
    assert sorted(sources) == sorted(project.comparisons.values_list("pk", flat=True))
    options = {name: rules["options"][name] for name in ("not_applicable_is_yes", "reward_weight", "reward_offset")}
    assert (options, rules["options"]["model"]) == ({name: wanted[name] for name in options}, "m-1")
    (run,) = api.get("projects/tides/rule-extractions/").json()["results"]
    assert (run["stage"], run["counts"]["candidates"], run["counts"]["failed"]) == ("done", 24, 0)


def test_the_model_reads_both_responses_the_outcome_and_the_reasons_and_no_names(server, endpoint, project, manager):
    rows = [
        pair(n, responses=[{"text": f"F {n}", "model": "gpt-x"}, {"text": f"S {n}", "model": "gpt-y"}])
        for n in range(24)
    ]
    imported(project, rows)
    server.answer = Extractor()
    extraction = extract(project, manager, endpoint, comparisons=24)
    questions = set(asked(server, "why people prefer"))
    assert len(questions) == 24
    for text in questions:
        winner = 1 if "[RESPONSE 1" in text and text.index("\nF ") < text.index("\nS ") else 2
        assert f"People found Response {winner} better." in text
        assert f"@Response {winner} gives more reasons" in text
    everything = json.dumps(server.got)
    assert not [
        name for name in ("gpt-x", "gpt-y", "a0", "mara") if f'"{name}' in everything or f"{name} " in everything
    ]
    assert {item.swapped for item in extraction.items.all()} == {True, False}
    for each in extraction.items.select_related("comparison__prompt", "comparison__response_1"):
        assert asked_of(each).split("\n\n", 1)[1] in questions, "what stands on the page is what was asked"
        stays = each.comparison.external_id in ("pair-1", "pair-2")  # the reasons count in words of their own
        assert each.asked["swapped"] == (each.swapped and not stays)
    api = Api(manager)
    row = api.get(f"rule-extractions/{extraction.pk}/items/").json()["results"][0]
    assert row["asked"]["reasons"][0].startswith(f"@Response {1 if row['asked']['preference'] < 0 else 2} gives")
    (merge,) = api.get(f"rule-extractions/{extraction.pk}/merges/").json()["results"]
    assert (len(merge["inputs"]) > len(merge["rules"]), merge["left_out"]) == (True, 0)
    item = extraction.items.first()
    assert item.reasoning.endswith(".")
    assert (item.answer, item.read_from, len(item.candidates)) == ("It is better.", "reasoning", 2)


def test_candidates_come_from_the_reasoning_or_from_the_answer(server, endpoint, project, manager, pairs):
    said = "<think>It has better tone.</think>It has better length."
    server.answer = lambda body: Said(said) if "why" in body["messages"][0]["content"] else RULES(body)
    extract(project, manager, endpoint)
    assert all("better tone" in text for text in asked(server, "into rules"))
    server.got.clear()
    extract(project, manager, endpoint, source="answer")
    assert asked(server, "why people prefer") == []
    assert all("better length" in text for text in asked(server, "into rules"))
    ModelEndpoint.objects.get().answers.all().delete()
    said = "It has better length."
    assert extract(project, manager, endpoint).counts["read_from_the_other"] == 12


def test_comparisons_are_chosen_by_strength_spread_domain_and_disagreement_in_a_seeded_order(project, pairs):
    def picked(seed=1, **selection):
        rows = chosen(project, Selection(**selection), seed)
        return [row.comparison.external_id for row in rows.select_related("comparison")]

    assert len(picked()) == 12
    assert picked() == picked()
    assert picked(seed=2) != picked()
    assert picked(comparisons=5) == picked()[:5]
    assert set(picked(strength=2)) == {f"pair-{n}" for n in range(0, 12, 2)}
    assert picked(domain="law") == []
    imported(
        project, [pair(50, metadata={"domain": "law"}), pair(51, annotations=[{"annotator": "a", "preference": 0}])]
    )
    assert picked(domain="law") == ["pair-50"]
    assert "pair-51" not in picked()
    assert picked(disagreements=True) == []
    scorer = Scorer.objects.create(project=project, name="M", kind="reward_model", orders_queue=True)
    for number, (first, second) in {0: (0.0, 1.0), 2: (1.0, 0.0), 4: (1.0, 1.0), 1: (1.0, 0.0)}.items():
        comparison = project.comparisons.get(external_id=f"pair-{number}")
        for response, value in ((comparison.response_1, first), (comparison.response_2, second)):
            Signal.objects.create(scorer=scorer, response=response, value=value, input_hash="")
    assert set(picked(disagreements=True)) == {"pair-0", "pair-1"}


def test_many_candidates_merge_in_levels_and_a_merge_that_fails_loses_none(server, endpoint, project, manager, pairs):
    def answer(body):
        system, user = (turn["content"] for turn in body["messages"][:2])
        if "into rules" in system:
            number = user.split("Question ")[1].split("?")[0]
            return Said(json.dumps([f"Rule {letter} {number} holds." for letter in "abcdefghijkl"]))
        if "lists of rules" in system:
            texts = [line.partition(". ")[2] for line in user.split("\n") if line.endswith("holds.")]
            if len(texts) < MERGE_GROUP and "first" not in user:
                return Said("I would rather not.")
            half = len(texts) // 2
            parts = list(range(1, half + 1)), list(range(half + 1, len(texts) + 1))
            parts[1].pop()  # the last of each group is named by no rule
            rules = [{"text": f"The first of {texts[part[0] - 1]}", "from": part} for part in parts]
            return Said(json.dumps({"rules": rules}))
        return Said(f"Question {user.split('Question ')[1].split('?')[0]}?")

    server.answer = answer
    extraction = extract(project, manager, endpoint, source="answer")
    assert extraction.job.state == Job.State.SUCCEEDED, extraction.job.error
    sizes = [
        (merge.level, len(merge.inputs), bool(merge.error)) for merge in extraction.merges.order_by("level", "number")
    ]
    assert sizes == [(0, 50, False), (0, 50, False), (0, 44, True), (1, 48, False)]
    assert extraction.counts["failed_merges"] == 1
    assert extraction.counts["left_out_of_merges"] == 3
    assert extraction.rule_set.rules.count() == 2
    sources = {pk for rule in extraction.rule_set.rules.all() for pk in rule.sources["comparisons"]}
    assert len(sources) == 12


@pytest.mark.parametrize(
    ("text", "sentence"),
    [("[]", "No rule was found in what the model said."), ("Sure! Here they are.", "nor could its repair")],
)
def test_answers_without_rules_are_an_error_and_never_an_empty_rule_set(
    server, endpoint, project, manager, pairs, text, sentence
):
    server.answer = lambda body: Said("Because.") if "why" in body["messages"][0]["content"] else Said(text)
    extraction = extract(project, manager, endpoint)
    assert extraction.job.state == Job.State.FAILED
    assert sentence in extraction.job.error
    assert extraction.rule_set is None
    assert extraction.items.exclude(answer="").count() == 12


def test_a_key_that_stops_working_keeps_what_there_is_and_the_next_run_pays_for_none_of_it(
    server, endpoint, project, manager, pairs
):
    extractor = Extractor()
    server.answer = lambda body: (
        Said("expired", 401) if "into rules" in body["messages"][0]["content"] else extractor(body)
    )
    failed = extract(project, manager, endpoint)
    assert "does not accept the key (401). expired" in failed.job.error
    server.got.clear()
    server.answer = extractor
    assert extract(project, manager, endpoint).job.state == Job.State.SUCCEEDED
    assert asked(server, "why people prefer") == []


def test_the_door_refuses_what_does_not_fit(endpoint, project, manager, annotator, pairs):
    api, path = Api(manager, scope="write"), "projects/tides/rule-extractions/"
    assert pointers(api.post(path, {})) == ["/endpoint", "/miner"]
    assert pointers(api.post(path, {"miner": "programmatic", "endpoint": "1"})) == ["/endpoint", "/miner"]
    assert pointers(api.post(path, {"miner": "programmatic", "comparisons": 5})) == ["/comparisons"]
    assert pointers(api.post(path, {"endpoint": "999"})) == ["/endpoint"]
    wrong = {"endpoint": str(endpoint.pk), "comparisons": 0, "strength": 4, "source": "dreams", "reward_offset": 2}
    assert pointers(api.post(path, wrong)) == ["/comparisons", "/reward_offset", "/source", "/strength"]
    problem(api.post(path, {"endpoint": str(endpoint.pk), "domain": "law"}), 409)
    no_model = problem(api.post(path, {"endpoint": str(endpoint.pk), "disagreements": True}), 409)
    assert "No reward model orders the queue" in no_model["detail"]
    endpoint.owner = annotator
    endpoint.save()
    assert pointers(api.post(path, {"endpoint": str(endpoint.pk)})) == ["/endpoint"], "somebody else's model"
    with pytest.raises(Conflict):
        start_reading(
            project=project, endpoint=str(endpoint.pk), selection=Selection(domain="x"), seed=1, created_by=annotator
        )


def test_a_deleted_model_is_said_so(server, endpoint, project, manager, pairs):
    made = start_reading(project=project, endpoint=str(endpoint.pk), selection=Selection(), seed=1, created_by=manager)
    endpoint.delete()
    read_rules(made.job_id)
    assert "The language model that this was started with is deleted." in Job.objects.get(pk=made.job_id).error
