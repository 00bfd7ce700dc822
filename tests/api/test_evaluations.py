"""Evaluations, model cards, rollback and the policy of promotion over REST."""

import hashlib
import json

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.core.artifacts import artifact_storage
from apps.imports.uploads import create_upload
from apps.jobs.models import Job
from apps.reward_models.models import Evaluation, PromotionDecision, RetrainPolicy
from apps.reward_models.promotion import promote
from tests.api.conftest import Api, pointers, problem

pytestmark = pytest.mark.django_db
ROW = {
    "pair_id": "1",
    "source": "livebench-math",
    "question": "?",
    "response_A": "a",
    "response_B": "b",
    "label": "A>B",
}


@pytest.fixture
def api(researcher):
    return Api(researcher)


@pytest.fixture
def path(world):
    return f"reward-models/{world.model.pk}/evaluations/"


def job_of(reply):
    assert reply.status_code == 202, reply.content
    body = reply.json()
    assert (body["id"], body["job"]["kind"]) == (None, "evaluation")
    return Job.objects.get(pk=body["job"]["id"])


def test_held_out_prompts_are_measured_once_however_often_it_is_asked(api, world, path):
    job = job_of(api.post(path, {"benchmark": "held-out"}))
    assert job.inputs == {"reward_model": str(world.model.pk), "benchmark": "held-out", "source": {}}
    assert (job.queue, job.created_by.username) == ("gpu", "remy")
    assert job_of(api.post(path, {"benchmark": "held-out"})) == job


def test_a_file_is_stored_once_by_its_content(api, world, path):
    content = (json.dumps(ROW) + "\n").encode()
    jobs = []
    for name in ("first.jsonl", "second.jsonl"):
        body = {"benchmark": "judgebench", "file": SimpleUploadedFile(name, content)}
        jobs.append(job_of(api.client.post(f"/api/v1/{path}", body)))
    stored = f"benchmarks/{world.project.pk}/{hashlib.sha256(content).hexdigest()}"
    assert [job.inputs["source"] for job in jobs] == [
        {"stored_as": stored, "name": name} for name in ("first.jsonl", "second.jsonl")
    ]
    with artifact_storage().open(stored) as file:
        assert file.read() == content


def test_a_benchmark_without_a_source_is_read_from_the_hub(api, path):
    source = job_of(api.post(path, {"benchmark": "judgebench"})).inputs["source"]
    name = "ScalerLab/JudgeBench"
    assert source == {"name": name, "datasets": [{"name": name, "split": "gpt"}]}
    own = {"name": "me/mine", "split": "train"}
    assert job_of(api.post(path, {"benchmark": "rm-bench", "dataset": own})).inputs["source"]["datasets"] == [own]
    assert job_of(api.post(path, {"benchmark": "rm-bench", "path": "a/b.json"})).inputs["source"]["path"] == "a/b.json"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/benchmark"),
        ({"benchmark": "mt-bench"}, "/benchmark"),
        ({"benchmark": "judgebench", "path": "../secret_key"}, "/path"),
        ({"benchmark": "judgebench", "path": "/etc/passwd"}, "/path"),
        ({"benchmark": "judgebench", "path": "a\\..\\b"}, "/path"),
        ({"benchmark": "judgebench", "dataset": {"name": "json"}}, "/dataset/name"),
        ({"benchmark": "judgebench", "upload": "999999"}, "/upload"),
        ({"benchmark": "judgebench", "upload": "1", "path": "x"}, "/path"),
        ({"benchmark": "held-out", "path": "x"}, "/path"),
        ({"benchmark": "held-out", "colour": "red"}, "/colour"),
    ],
)
def test_a_wrong_body_is_422_with_the_field(api, path, body, pointer):
    assert pointers(api.post(path, body)) == [pointer]
    assert not Job.objects.filter(kind="evaluation").exists()


def test_an_upload_must_have_arrived(api, world, path):
    upload = create_upload(project=world.project, file_name="x.jsonl", length=3, created_by=None)
    reply = api.post(path, {"benchmark": "judgebench", "upload": str(upload.pk)})
    assert "has not arrived" in problem(reply, 422)["detail"]


@pytest.mark.parametrize(("content", "words"), [(b"", "empty"), (b"PK\x03\x04...", "ZIP archive")])
def test_a_file_that_is_no_data_is_refused_at_once(api, path, content, words):
    body = {"benchmark": "judgebench", "file": SimpleUploadedFile("x.jsonl", content)}
    assert words in problem(api.client.post(f"/api/v1/{path}", body), 422)["detail"]


def test_evaluations_are_listed_and_read(api, world, path, django_assert_num_queries):
    (row,) = api.get(path).json()["results"]
    assert (row["benchmark"], row["result"]["overall"], row["against"]) == ("judgebench", 0.625, None)
    assert row["measured_on"] == "A file in the format of JudgeBench: 8 rows, without Coding"
    assert row["comparable"] is False
    assert api.get(f"evaluations/{row['id']}/").json() == row
    assert api.get(f"{path}?benchmark=held-out").json()["results"] == []
    with django_assert_num_queries(4):  # token, version, membership, page
        api.get(path)


def test_the_card_carries_every_benchmark_as_a_model_index(api, world):
    from huggingface_hub import ModelCard

    reply = api.get(f"reward-models/{world.model.pk}/card/")
    assert reply.headers["Content-Type"] == "text/markdown; charset=utf-8"
    card = ModelCard(reply.content.decode())
    assert card.data.library_name == "transformers"
    results = {(each.dataset_type, each.metric_type): each for each in card.data.eval_results}
    kind = "tiebreak-file-like-judgebench"
    overall = results[kind, "accuracy"]
    assert (overall.metric_value, overall.task_type) == (0.625, "preference_evaluation")
    assert overall.dataset_name == "A file in the format of JudgeBench: 8 rows, without Coding"
    assert overall.dataset_revision == "d" * 64
    assert results[kind, "accuracy_math"].metric_value == 0.625
    assert "without Coding (not to be compared with published figures)" in reply.content.decode()


def test_a_manager_rolls_back(world, manager, researcher):
    Evaluation.objects.all().delete()
    before, now = world.model, world.model.__class__.objects.get(pk=world.model.pk)
    now.pk, now.version = None, 2
    now.scorer = world.project.scorers.create(name="Reward model 2", kind="reward_model")
    now.save()
    promote(model=before, actor=manager)
    promote(model=now, actor=manager)
    problem(Api(researcher).post(f"reward-models/{now.pk}/rollback/"), 403)
    reply = Api(manager).post(f"reward-models/{now.pk}/rollback/")
    assert (reply.status_code, reply.json()["job"]["kind"]) == (202, "scoring")
    detail = Api(manager).get(f"reward-models/{before.pk}/").json()
    assert (detail["state"], detail["decisions"][0]["kind"]) == ("current", "rollback")
    assert (detail["decisions"][0]["decided_by"], detail["decisions"][0]["against"]) == ("mara", str(now.pk))
    problem(Api(manager).post(f"reward-models/{now.pk}/rollback/"), 409)
    problem(Api(manager).post(f"reward-models/{before.pk}/rollback/"), 409)
    assert PromotionDecision.objects.count() == 3


def test_the_policy_is_read_and_changed_field_by_field(project, manager, researcher):
    path = "projects/tides/retrain-policy/"
    defaults = Api(researcher).get(path).json()
    assert (defaults["promotion"], defaults["min_probability"], defaults["keep_controls"]) == ("better", 0.8, True)
    problem(Api(researcher).call("PATCH", path, {"min_gain": 0.1}), 403)
    api = Api(manager)
    assert api.call("PATCH", path, {"min_probability": 0.95, "max_domain_loss": 0.05}).json()["max_domain_loss"] == 0.05
    assert api.call("PATCH", path, {"min_gain": 0.01}).json()["min_probability"] == 0.95
    policy = RetrainPolicy.objects.get()
    assert (policy.min_gain, policy.min_probability, policy.max_domain_loss) == (0.01, 0.95, 0.05)
    assert pointers(api.call("PATCH", path, {"min_probability": 2})) == ["/min_probability"]
    for field, value in (("every_hours", 1e308), ("every_hours", 10**400), ("every_labels", 10**7)):
        assert pointers(api.call("PATCH", path, {field: value})) == [f"/{field}"]
    assert pointers(api.call("PATCH", path, {"colour": "red"})) == ["/colour"]
    assert pointers(api.call("PATCH", path, {"recipe": {"epochs": "many"}})) == ["/recipe"]
