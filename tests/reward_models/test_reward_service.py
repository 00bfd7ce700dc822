"""Scoring over REST, from the caller to the model in the reward server's memory and back, in every dialect."""

import base64
import json

import numpy as np
import pytest
import torch
from django.test import Client
from sentence_transformers import SentenceTransformer
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from apps.reward_models.serving_urls import POSTS, VIEWS
from apps.signals.models import Signal
from apps.signals.services import freeze_statistics
from tests.api.conftest import pointers, problem
from tests.factories import MembershipFactory, ProjectFactory, PromptFactory, ResponseFactory
from tests.reward_models.asking import LONG, PAIRS, Rm, items, score

pytestmark = pytest.mark.django_db


@pytest.fixture
def api(researcher):
    """A researcher whose token may only read."""
    return Rm(researcher, scope="read")


# --- The same rewards everywhere ---


def test_a_classifier_of_the_exported_folder_says_the_same(api, make_model, model_folders, reward_server):
    model = make_model("pooler")
    tokenizer = AutoTokenizer.from_pretrained(model_folders["pooler"])
    theirs = AutoModelForSequenceClassification.from_pretrained(model_folders["pooler"]).eval()
    with torch.inference_mode():
        inputs = [tokenizer([p], [r], truncation=True, return_tensors="pt") for p, r in PAIRS]
        expected = [float(theirs(**each).logits[0, 0]) for each in inputs]
        alone = float(theirs(**tokenizer("good clear moon", return_tensors="pt")).logits[0, 0])
    reply = score(api, model, items())
    assert reply.json()["rewards"] == pytest.approx(expected, abs=1e-5)
    assert (reply.json()["model"], reply.json()["shaping"]) == (str(model.pk), "none")
    assert np.ptp(expected) > 0.1
    # One segment, as vLLM and TEI would read it from that folder.
    (row,) = api.post("rm/tides/classify", {"input": ["good clear moon"]}).json()["data"]
    assert row["probs"] == pytest.approx([alone], abs=1e-5)


def test_a_decoder_of_the_exported_folder_says_the_same_of_messages_texts_and_ids(
    api, make_model, model_folders, reward_server
):
    model = make_model("last")
    tokenizer = AutoTokenizer.from_pretrained(model_folders["last"])
    theirs = AutoModelForSequenceClassification.from_pretrained(model_folders["last"]).eval()
    chats = [[{"role": "user", "content": p}, {"role": "assistant", "content": r}] for p, r in PAIRS]
    settings = {"truncation": True, "max_length": 48, "return_dict": True, "return_tensors": "pt"}
    with torch.inference_mode():
        expected = [float(theirs(**tokenizer.apply_chat_template(chat, **settings)).logits[0, 0]) for chat in chats]
    assert score(api, model, items()).json()["rewards"] == pytest.approx(expected, abs=1e-5)
    texts = [tokenizer.apply_chat_template(chat, tokenize=False) for chat in chats]
    said = api.post("rm/tides/get_reward", {"query": texts, "prompts": [""] * 5}).json()
    assert said["rewards"] == pytest.approx(expected, abs=1e-5)
    ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in texts]
    said = api.post("rm/tides/pooling", {"input": ids}).json()
    assert [row["data"][0] for row in said["data"]] == pytest.approx(expected, abs=1e-5)
    assert said["usage"]["prompt_tokens"] == sum(min(48, len(each)) for each in ids)
    assert pointers(api.post("rm/tides/pooling", {"input": [[1], [5, 10**6]]})) == ["/input/1"]
    assert pointers(api.post("rm/tides/classify", {"input": ["a", ""]})) == ["/input/1"]


def test_sentence_transformers_and_every_dialect_say_the_same(api, make_model, model_folders, reward_server):
    model = make_model("mean")
    theirs = SentenceTransformer(str(model_folders["mean"])).encode([list(pair) for pair in PAIRS])[:, 0]
    rewards = score(api, model, items()).json()["rewards"]
    assert rewards == pytest.approx(theirs.tolist(), abs=1e-5)

    prompts, responses = zip(*PAIRS, strict=True)
    chat = [{"role": "user", "content": prompts[0]}, {"role": "assistant", "content": responses[0]}]
    templated = f"<|im_start|>user\n{prompts[0]}<|im_end|>\n<|im_start|>assistant\n{responses[0]}<|im_end|>\n"
    rollout = {
        "responses_create_params": {"input": prompts[0]},
        "response": {"output": [{"type": "message", "content": [{"type": "output_text", "text": responses[0]}]}]},
    }

    def said(path, body):
        reply = api.post(f"rm/tides/{path}", body)
        assert reply.status_code == 200, reply.content
        assert reply.headers["X-Reward-Model"] == str(model.pk)
        return reply.json()

    first, every = pytest.approx(rewards[0], abs=1e-5), pytest.approx(rewards, abs=1e-5)

    def every_of(count):
        return pytest.approx(rewards[:count], abs=1e-5)

    together = [prompt + response for prompt, response in PAIRS]
    assert said("get_reward", {"query": together, "prompts": prompts})["rewards"] == every
    assert said("get_reward", {"query": []})["rewards"] == []
    assert said("classify", {"messages": chat})["data"][0]["probs"][0] == first
    assert said("v1/classify", {"input": templated})["data"][0]["probs"][0] == first
    assert said("classify", {"text": [templated]})[0]["embedding"][0] == first
    assert said("pooling/", {"messages": chat})["data"][0]["data"][0] == first
    assert said("v1/embeddings", {"input": templated})["data"][0]["embedding"][0] == first
    assert [row["score"] for row in said("score", {"text_1": prompts, "text_2": responses})["data"]] == every
    best = said("v2/rerank", {"query": prompts[0], "documents": list(responses)})["results"]
    assert [row["relevance_score"] for row in best] == sorted((row["relevance_score"] for row in best), reverse=True)
    assert [row[0]["score"] for row in said("predict", {"inputs": PAIRS})] == every
    assert [row[0]["score"] for row in said("predict", {"inputs": PAIRS[:2], "truncate": False})] == every_of(2)
    for long in (PAIRS[3], [LONG]):  # prompt and response of more tokens than the model reads, or a text that is
        reply = api.post("rm/tides/predict", {"inputs": [PAIRS[0], long], "truncate": False})
        assert pointers(reply) == ["/inputs/1"]
        assert "tokens, and the model reads 48." in problem(reply, 422)["detail"]
    assert said(f"{model.pk}/verify", rollout)["reward"] == first
    assert (
        said(f"{model.pk}/v1/score/", {"queries": prompts[0], "documents": responses[0]})["data"][0]["score"] == first
    )
    names = api.client.get("/rm/tides/v1/models").json()["data"]
    assert [(row["id"], row["owned_by"]) for row in names] == [(str(model.pk), "tides")]
    assert api.client.get("/rm/tides/health").status_code == 200


def test_half_a_surrogate_pair_goes_back_as_it_came(api, make_model, reward_server):
    make_model()
    half = {"query": "a", "texts": ["\ud800", "b"], "return_text": True}
    reply = api.post("rm/tides/rerank", half)
    assert reply.status_code == 200
    assert {row["text"] for row in json.loads(reply.content)} == {"\ud800", "b"}
    indented = api.post("rm/tides/rerank", half, headers={"Accept": "application/json; indent=2"})
    assert json.loads(indented.content) == json.loads(reply.content)
    create = {"input": [{"role": "user", "content": "why"}]}
    rollout = {"responses_create_params": create, "response": {"output": []}, "\ud800": "\udfff"}
    assert json.loads(api.post("rm/tides/verify", rollout).content)["\ud800"] == "\udfff"


def test_a_version_that_knows_says_how_sure_it_is(api, make_model, reward_server):
    said = score(api, make_model("mean"), items(uncertainty=True)).json()
    for reward, std, (low, high) in zip(said["raw"], said["std"], said["intervals"], strict=True):
        assert std > 0  # with the identity for a covariance it is the length of the features
        assert (low, high) == pytest.approx((reward - 1.959964 * std, reward + 1.959964 * std))
    unsure = score(api, make_model("pooler", state="candidate"), items(uncertainty=True)).json()
    assert (unsure["std"], unsure["intervals"]) == ([None] * 5, [None] * 5)


# --- Shaping ---


def test_shaped_rewards_come_with_the_frozen_statistics_they_were_made_with(api, make_model, reward_server, project):
    model = make_model()
    raw = score(api, model, items()).json()["rewards"]
    assert "no statistics yet" in problem(score(api, model, items(shaping="standardise")), 409)["detail"]

    prompt = PromptFactory(project=project, messages=[{"role": "user", "content": PAIRS[0][0]}])
    responses = [ResponseFactory(prompt=prompt, text=text) for text in ("one", "two", PAIRS[0][1])]
    for value, response in zip((1.0, 3.0, 9.0), responses, strict=True):
        Signal.objects.create(scorer=model.scorer, response=response, value=value, input_hash="x")
    freeze_statistics(scorer=model.scorer)
    Signal.objects.filter(response=responses[2]).update(value=900.0)
    freeze_statistics(scorer=model.scorer)  # frozen is frozen

    said = score(api, model, items(shaping="standardise")).json()
    mean, std = 13 / 3, (104 / 9) ** 0.5
    assert said["rewards"] == pytest.approx([(reward - mean) / std for reward in raw], abs=1e-5)
    assert (said["raw"], said["shaping"]) == (pytest.approx(raw, abs=1e-5), "standardise")
    frozen = said["statistics"]
    assert (frozen["n"], frozen["mean"], frozen["std"]) == (3, pytest.approx(mean), pytest.approx(std))
    assert (frozen["over"], frozen["scorer"]) == ("responses of the project", str(model.scorer_id))
    listed = api.client.get("/api/v1/projects/tides/scorers/").json()["results"]
    assert listed[0]["statistics"] == frozen
    texts = {"text_1": PAIRS[0][0], "text_2": PAIRS[0][1]}
    shaped = api.post("rm/tides/score?shaping=min-max", texts).json()["data"][0]["score"]
    assert shaped == pytest.approx((raw[0] - 1) / 8, abs=1e-5)

    signals = api.client.get("/api/v1/projects/tides/signals/?shaping=clip").json()["results"]
    assert [row["shaped"]["value"] for row in signals] == pytest.approx([1.0, 3.0, mean + std])
    assert pointers(api.client.get("/api/v1/projects/tides/signals/?shaping=x")) == ["/shaping"]

    # PAR: the project's other responses to the same prompt, or those that come with the item.
    def sigmoid(x):
        return 1 / (1 + np.exp(-x))

    known = score(api, model, items(PAIRS[:1], shaping="par")).json()
    expected = (sigmoid(raw[0] - 1) + sigmoid(raw[0] - 3)) / 2
    assert known["rewards"] == pytest.approx([expected], abs=1e-5)
    assert known["statistics"] == {"references": [2], "reference_rewards": [[1.0, 3.0]]}
    later = ResponseFactory(prompt=prompt, text="three")
    Signal.objects.create(scorer=model.scorer, response=later, value=-5.0, input_hash="x")
    moved = score(api, model, items(PAIRS[:1], shaping="par")).json()
    assert moved["statistics"]["reference_rewards"] == [[1.0, 3.0, -5.0]]
    first_two = score(api, model, items(PAIRS[:1], shaping="par", reference_count=2)).json()
    again = items(PAIRS[:1], shaping="par")
    again["items"][0]["reference_rewards"] = known["statistics"]["reference_rewards"][0]
    for frozen in (first_two, score(api, model, again).json()):
        assert (frozen["rewards"], frozen["statistics"]) == (known["rewards"], known["statistics"])
    body = items([(PAIRS[0][0], PAIRS[1][1]), (PAIRS[0][0], PAIRS[0][1])], shaping="PAR")
    body["items"][0]["references"] = [PAIRS[0][1]]
    body["items"][1]["references"] = [PAIRS[1][1], PAIRS[0][1]]
    given = score(api, model, body).json()
    assert given["statistics"]["references"] == [1, 2]
    first, second = given["raw"]
    assert given["statistics"]["reference_rewards"] == [pytest.approx([second]), pytest.approx([first, second])]
    assert given["rewards"] == pytest.approx([sigmoid(first - second), (sigmoid(second - first) + 0.5) / 2], abs=1e-5)
    assert pointers(score(api, model, items(PAIRS[:2], shaping="par"))) == ["/items/1/messages"]
    assert pointers(api.post("rm/tides/classify?shaping=par", {"input": "x"})) == ["/input"]


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (items(shaping="square"), "/shaping"),
        (items(shaping=None), "/shaping"),
        (items(reference_count=17), "/reference_count"),
        (items(reference_count=True), "/reference_count"),
        ({}, "/items"),
        ({**items(), "colour": 1}, "/colour"),
        ([], ""),
        (items([("", 7)]), "/items/0/response"),
    ],
)
def test_a_wrong_body_is_422(api, make_model, body, pointer):
    assert pointers(score(api, make_model(), body)) == [pointer]


# --- Who may ask ---


def test_managers_and_researchers_of_the_project_get_in_and_nobody_else(
    request, api, make_model, manager, stranger, annotator
):
    model, other = make_model(), make_model(of=ProjectFactory(slug="other"))
    reviewer = MembershipFactory(project=model.project, role="reviewer").user
    known = dict.fromkeys(POSTS, 422)
    for where in ("tides", f"tides/{model.pk}", f"tides/{model.pk}/v1"):
        for name, status in known.items():
            path = f"rm/{where}/{name}"
            assert api.post(path, {"inputs": 7}).status_code == status, path
            assert Rm(manager).post(path, {"inputs": 7}).status_code == status
            assert {problem(Rm(who).post(path, {}), 403)["title"] for who in (annotator, reviewer)} == {"Not allowed"}
            problem(Rm(stranger).post(path, {}), 404)
            problem(Rm(None).post(path, {}), 401)
            problem(api.client.get(f"/{path}"), 405)
    assert len(VIEWS) == len(known) + 2
    problem(api.post(f"rm/tides/{other.pk}/classify", {"input": "x"}), 404)
    problem(api.post("rm/other/classify", {"input": "x"}), 404)
    problem(api.post("rm/tides/nothing", {}), 404)
    problem(api.post("rm/tides/classify", b"[]"), 422)
    problem(Rm(manager, projects=["tides"]).post("rm/other/classify", {}), 404)
    model.state = "retired"
    model.save()
    assert "no promoted" in problem(api.post("rm/tides/classify", {"input": "x"}), 409)["detail"]


def test_where_a_client_takes_an_address_only_the_token_is_its_password(make_model, api):
    make_model()
    key = api.headers["Authorization"].removeprefix("Token ")

    def status(path, credentials):
        basic = base64.b64encode(credentials.encode()).decode()
        headers = {"Authorization": f"Basic {basic}"}
        return Client(headers=headers).post(path, {}, content_type="application/json").status_code

    assert status("/rm/tides/get_reward", f"token:{key}") == 422
    assert status("/rm/tides/get_reward", "token:guess") == 401
    assert status("/rm/tides/get_reward", "token") == 401
    assert status("/api/v1/reward-models/1/score/", f"token:{key}") == 401


def test_a_browser_needs_its_csrf_token(make_model, researcher):
    model = make_model()
    client = Client(enforce_csrf_checks=True)
    client.force_login(researcher)
    for path in ("tides/classify", f"tides/{model.pk}/classify"):
        problem(client.post(f"/rm/{path}", {"input": "x"}, content_type="application/json"), 403)
