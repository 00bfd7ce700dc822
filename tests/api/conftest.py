"""A project with one of everything, and clients that speak for each person."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest
from django.test import Client

from apps.accounts.models import ApiToken, User
from apps.accounts.services import create_token
from apps.core.artifacts import store_folder
from apps.endpoints.models import ModelEndpoint
from apps.endpoints.services import create_endpoint as create_model
from apps.exports.models import Snapshot
from apps.exports.services import create_snapshot, write_snapshot
from apps.imports.models import Import, Upload
from apps.imports.services import start_import_of_items
from apps.imports.uploads import create_upload
from apps.jobs.models import Job
from apps.labeling.leasing import lease_next
from apps.labeling.models import Annotation, Assignment, Consensus
from apps.labeling.services import submit_annotation
from apps.projects.models import Membership, Project
from apps.prompts.models import Comparison
from apps.reward_models.models import Evaluation, RewardModel, TrainingRun
from apps.reward_models.searches import start_search
from apps.reward_models.services import start_training
from apps.rules.services import ProposedRule, create_rule_set, start_extraction
from apps.signals.models import Scorer, Signal
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint
from apps.webhooks.services import send_test
from tests.factories import ComparisonFactory, MembershipFactory, UserFactory, answer

OTHER_PERSONS_WORDS = "@Response 1 is what Otto alone would call a splendid piece of marine engineering, says Otto."
SIGNAL_VALUE = 0.73519
MANIFEST = {
    "loader": "transformers",
    "recipe": {
        "name": "default",
        "pooling": "pooler",
        "backbone": "embedded",
        "initialisation": "scratch",
        "max_tokens": 512,
    },
    "recipe_hash": "b" * 64,
    "snapshot": "c" * 64,
    "feature_revision": "r",
    "outputs": ["reward"],
    "metrics": {"validation": None},
}
MODEL_FILES = {
    "config.json": b'{"num_labels": 1}',
    "tiebreak.json": json.dumps(MANIFEST).encode(),
    "weights/model.safetensors": bytes(range(256)) * 5,
}
RESULT = {"overall": 0.625, "sections": [{"name": "Math", "n": 8, "score": 0.625, "interval": [0.25, 1.0]}]}
RESULT |= {"missing": ["Coding"], "n": 8, "longer_wins": 0.5, "undecided": 0}


class Api:
    """One person's token, or nobody's."""

    def __init__(self, user: User | None, scope: str = "write", projects: Sequence[str] | None = None) -> None:
        self.headers: dict[str, str] = {}
        if user is not None:
            self.token, key = create_token(user=user, name="test", scope=scope, projects=projects)
            self.headers = {"Authorization": f"Token {key}"}
        self.client = Client(headers=self.headers)

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        """Send a request; `body` is JSON, or bytes as they are."""
        content = body if isinstance(body, bytes) else b"" if body is None else json.dumps(body).encode()
        options.setdefault("content_type", "application/json")
        return self.client.generic(method, f"/api/v1/{path}", content, **options)

    def get(self, path: str, **options: Any) -> Any:
        """GET."""
        return self.call("GET", path, **options)

    def post(self, path: str, body: Any = None, **options: Any) -> Any:
        """POST."""
        return self.call("POST", path, body, **options)


@dataclass
class World:
    """What there is in the project `tides`."""

    project: Project
    comparison: Comparison
    assignment: Assignment
    annotation: Annotation
    scorer: Scorer
    snapshot: Snapshot
    made: Import
    run: TrainingRun
    model: RewardModel
    delivery: WebhookDelivery
    token: ApiToken
    upload: Upload
    endpoint: ModelEndpoint

    @property
    def job(self) -> Job:
        """The unfinished job of the training run."""
        return self.run.job


@pytest.fixture
def reviewer(project: Project) -> User:
    return MembershipFactory(project=project, user__username="rosa", role=Membership.Role.REVIEWER).user


@pytest.fixture
def world(project: Project, annotator: User, tmp_path: Any) -> World:
    """One of everything. `annotator` holds an open assignment of the pair that Otto has labeled already."""
    comparison = ComparisonFactory(
        project=project,
        external_id="tide-1",
        metadata={"domain": "secret-domain"},
        gold=-3,
        reference="secret-reference",
    )
    otto = MembershipFactory(project=project, user__username="otto").user
    labeled = lease_next(project=project, annotator=otto, resume=False)
    annotation = submit_annotation(assignment=labeled, body=answer(justification=OTHER_PERSONS_WORDS))
    assignment = lease_next(project=project, annotator=annotator, resume=False)
    for number in range(8):
        settled = ComparisonFactory(project=project, external_id=f"settled-{number}", queue__state="complete")
        Consensus.objects.create(
            comparison=settled, project=project, status="agreed", preference=2, annotation_count=0, rule="test"
        )
    scorer = Scorer.objects.create(project=project, name="Reward model 1", kind="reward_model", orders_queue=True)
    Signal.objects.create(scorer=scorer, response=comparison.response_1, value=SIGNAL_VALUE, input_hash="a" * 64)
    body = {"name": "first", "splits": {"train": 1.0}, "formats": ["annotations"], "encodings": ["jsonl"]}
    snapshot = create_snapshot(project=project, body=body, created_by=None)
    write_snapshot(snapshot=snapshot)
    for name, content in MODEL_FILES.items():
        (tmp_path / "model" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "model" / name).write_bytes(content)
    folder = f"reward-models/test-{project.pk}"
    model = RewardModel.objects.create(
        project=project,
        version=1,
        recipe={"name": "default"},
        recipe_hash="b" * 64,
        snapshot=snapshot,
        scorer=scorer,
        folder=folder,
        files=store_folder(tmp_path / "model", folder),
        metrics={"accuracy": 0.75},
        decision="It is the first version.",
    )
    Evaluation.objects.create(
        project=project,
        reward_model=model,
        benchmark="judgebench",
        source="judgebench.jsonl",
        content_hash="d" * 64,
        result=RESULT,
        code_version="0.1.0",
    )
    made = start_import_of_items(project=project, items=[{"prompt": "?"}], created_by=None)
    run = start_training(project=project)
    start_search(project=project)
    project.cohorts.create(name="Divers")
    said = [ProposedRule(text="It says secret-rule.")]
    rule_set = create_rule_set(project=project, origin="language_model", rules=said, options={}, created_by=None)
    rule_set.scorer = scorer
    rule_set.save()
    start_extraction(project=project, origin="miner", options={"miner": "programmatic"}, seed=0, created_by=None)
    endpoint = WebhookEndpoint.objects.create(project=project, url="https://example.org/", events=["job.failed"])
    delivery = send_test(endpoint=endpoint)
    token, _key = create_token(user=otto, name="Otto's", scope="write")
    upload = create_upload(project=project, file_name="pairs.jsonl", length=9, created_by=None)
    mine = (project, comparison, assignment, annotation, scorer, snapshot, made, run, model)
    model_endpoint = create_model(
        owner=otto, name="Otto's", model="m", base_url="https://example.org/v1", api_key="sk-o"
    )
    return World(*mine, delivery, token, upload, model_endpoint)


@pytest.fixture
def superuser(db: None) -> User:
    return UserFactory(username="root", is_superuser=True)


def problem(reply: Any, status: int) -> dict[str, Any]:
    """Assert that a reply is a problem with this status, whole and well-formed; return it."""
    assert reply.status_code == status, (reply.status_code, reply.content)
    assert reply.headers["Content-Type"] == "application/problem+json"
    body = reply.json()
    assert set(body) == {"type", "title", "status", "detail", "errors"}
    assert body["status"] == status
    assert body["detail"]
    return body


def pointers(reply: Any) -> list[str]:
    """Return the places a 422 names, sorted."""
    return sorted(error["pointer"] for error in problem(reply, 422)["errors"])
