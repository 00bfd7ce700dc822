"""Every address that names a project, or something in one, is closed to strangers, whoever adds it."""

import re

import pytest
from django.urls import URLResolver, get_resolver

from apps.accounts.services import create_token
from apps.endpoints.services import create_endpoint
from apps.exports.services import create_snapshot
from apps.imports.services import start_import_of_items
from apps.imports.uploads import create_upload
from apps.jobs.services import enqueue
from apps.labeling.leasing import lease_next
from apps.projects.models import Project
from apps.reward_models.models import Evaluation, RecipeSearch, RewardModel, TrainingRun
from apps.rules.services import ProposedRule, create_rule_set, start_extraction
from apps.signals.models import Scorer
from apps.webhooks.models import WebhookEndpoint
from apps.webhooks.services import send_test
from tests.factories import ComparisonFactory, MembershipFactory

OPEN_TO_ALL = {"login", "logout", "livez", "readyz", "home", "tokens", "token-revoke", "schema", "docs", "docs-script"}
OPEN_TO_ALL |= {"set-language", "image", "login-again", "api/v1/tokens/", "model-endpoints", "api/v1/model-endpoints/"}
"""Pages of nobody's project: what they show is the person's own, or nothing."""
WALKED_ELSEWHERE = {"rewards-elsewhere"}
"""A pattern that this walk cannot fill in: tests/reward_models/test_reward_service.py."""
PARAMETER = re.compile(r"<(?:\w+:)?([\w-]+)>")


def addresses(resolver: URLResolver, prefix: str = "") -> list[tuple[str, str]]:
    """Return (name, address with parameters) of every route below a resolver, the admin's left out."""
    found = []
    for pattern in resolver.url_patterns:
        path = prefix + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            found += [] if path == "admin/" else addresses(pattern, path)
        else:
            found.append((pattern.name or path, path))
    return found


@pytest.fixture
def things(project: Project) -> dict[str, object]:
    """Return a value for every parameter an address can have, all of one project."""
    comparison = ComparisonFactory(project=project)
    person = MembershipFactory(project=project).user
    snapshot = create_snapshot(project=project, body={"name": "First"}, created_by=None)
    job = enqueue(kind="training", project=project, inputs={})
    scorer = Scorer.objects.create(project=project, name="Reward model 1", kind="reward_model")
    model = RewardModel.objects.create(
        project=project, version=1, recipe={}, recipe_hash="x", snapshot=snapshot, scorer=scorer, folder="x"
    )
    assignment = lease_next(project=project, annotator=person, resume=True)
    run = TrainingRun.objects.create(project=project, recipe={}, snapshot=snapshot, job=job)
    search = RecipeSearch.objects.create(
        project=project,
        recipe={},
        grid={},
        minutes=1,
        snapshot=snapshot,
        job=enqueue(kind="recipe_search", project=project, inputs={}),
    )
    measured = {"benchmark": "judgebench", "source": "x", "content_hash": "x", "result": {}, "code_version": "x"}
    evaluation = Evaluation.objects.create(project=project, reward_model=model, **measured)
    endpoint = WebhookEndpoint.objects.create(project=project, url="https://example.org/", events=["job.failed"])
    delivery = send_test(endpoint=endpoint)
    model_endpoint = create_endpoint(owner=person, name="Mine", model="m", base_url="https://example.org/v1")
    rules = [ProposedRule(text="Is kind.")]
    rule_set = create_rule_set(project=project, origin="miner", rules=rules, options={}, created_by=None)
    extraction = start_extraction(project=project, origin="miner", options={}, seed=0, created_by=None)
    rows = {
        "model-endpoint": model_endpoint,
        "extraction": extraction,
        "endpoint": model_endpoint,
        "comparison": comparison,
        "snapshot": snapshot,
        "job": job,
        "scorer": scorer,
        "model": model,
        "reward-model": model,
        "evaluation": evaluation,
        "run": run,
        "training-run": run,
        "search": search,
        "recipe-searche": search,  # what is left of "recipe-searches" without its s
        "assignment": assignment,
        "cohort": project.cohorts.create(name="First"),
        "webhook": endpoint,
        "delivery": delivery,
        "webhook-deliverie": delivery,  # what is left of "webhook-deliveries" without its s
        "rule-set": rule_set,
        "rule-extraction": extraction,
        "rule": rule_set.rules.get(),
        "token": create_token(user=person, name="First")[0],
        "import": start_import_of_items(project=project, items=[{}], created_by=None),
        "upload": create_upload(project=project, file_name="pairs.jsonl", length=9, created_by=None),
    }
    return {
        "slug": project.slug,
        "username": person.username,
        "export_format": "annotations",
        "split": "train",
        "file": "train.jsonl",
        "annotator_id": person.pk,
        "wanted": "csv",
        "version": rule_set.version,
        "number": 1,
        "other_id": snapshot.pk,
        "trial": 0,
        "place": 1,
        **{f"{name}_id": row.pk for name, row in rows.items()},
    }


def filled(path: str, things: dict[str, object]) -> str:
    """Return an address with its parameters filled in; a bare `id` belongs to the noun before it."""
    named = re.sub(r"([\w-]+)s/<str:id>", r"\1s/<str:\1_id>", path)
    return "/" + PARAMETER.sub(lambda match: str(things[match[1]]), named)


def test_a_stranger_gets_404_at_every_address_of_a_project(client, stranger, things):
    client.force_login(stranger)
    leaks, seen = [], 0
    for name, path in addresses(get_resolver()):
        if name in OPEN_TO_ALL | WALKED_ELSEWHERE or not PARAMETER.search(path):
            continue
        address = filled(path, things)
        for method in ("get", "post", "put", "patch", "delete"):
            reply = client.generic(method.upper(), address, "{}", content_type="application/json")
            status = reply.status_code
            seen += status == 404
            if status not in {404, 405}:
                leaks.append(f"{method.upper()} {address}: {status}")
    assert leaks == []
    assert seen > 50


def test_the_addresses_without_a_project_are_known():
    plain = {name for name, path in addresses(get_resolver()) if not PARAMETER.search(path)}
    assert plain - OPEN_TO_ALL == {"api/v1/projects/", "api/v1/", "^(api|rm)(/|$)"}
