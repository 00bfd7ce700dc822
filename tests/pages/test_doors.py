"""Every page: signed out to the sign-in page, a stranger 404, the wrong role 403, the wrong method 405."""

import pytest
from django.test import Client

from apps.exports.services import create_snapshot
from apps.imports.services import start_import_of_items
from apps.jobs.services import enqueue
from apps.reward_models.models import RecipeSearch, RewardModel, TrainingRun
from apps.signals.models import Scorer

MANAGER = {"manager"}
OVERSEES = {"manager", "reviewer"}
RESULTS = {"manager", "researcher"}
LABELS = {"manager", "reviewer", "annotator"}
ALL = {"manager", "reviewer", "annotator", "researcher"}
ROUTES = [
    ("get", "", ALL),
    ("get", "queue/", LABELS),
    ("get", "my-work/", LABELS),
    ("get", "comparisons/", RESULTS),
    ("get", "comparisons/{comparison}/", RESULTS | OVERSEES),
    ("post", "comparisons/close/", OVERSEES),
    ("post", "comparisons/put-back/", OVERSEES),
    ("get", "flags/", OVERSEES),
    ("get", "cohorts/", MANAGER),
    ("get", "cohorts/{cohort}/", MANAGER),
    ("post", "cohorts/{cohort}/", MANAGER),
    ("post", "cohorts/{cohort}/delete/", MANAGER),
    ("get", "settings/", MANAGER),
    ("get", "reward-models/", RESULTS),
    ("get", "training-runs/{run}/", RESULTS),
    ("get", "recipe-searches/{search}/", RESULTS),
    ("post", "recipe-searches/start/", RESULTS),
    ("post", "recipe-searches/{search}/use/0/", RESULTS),
    ("get", "snapshots/", RESULTS),
    ("get", "snapshots/{snapshot}/", RESULTS),
    ("get", "snapshots/{snapshot}/annotations/train.jsonl", RESULTS),
    ("get", "jobs/{job}/", RESULTS),
    ("get", "members/", MANAGER),
    ("get", "guideline/", ALL),
    ("post", "import/", MANAGER),
    ("get", "imports/", RESULTS),
    ("post", "imports/", MANAGER),
    ("get", "imports/{import}/", RESULTS),
    ("post", "imports/{import}/", MANAGER),
    ("get", "imports/{import}/report.csv", RESULTS),
    ("post", "imports/{import}/undo/", MANAGER),
    ("post", "training-runs/start/", RESULTS),
    ("post", "scoring/start/", RESULTS),
    ("post", "reward-models/{model}/promote/", MANAGER),
    ("post", "settings/retraining/", MANAGER),
    ("post", "settings/queue/", MANAGER),
    ("post", "snapshots/", RESULTS),
    ("post", "jobs/{job}/cancel/", RESULTS),
    ("post", "members/", MANAGER),
    ("post", "members/somebody/change/", MANAGER),
    ("post", "members/somebody/remove/", MANAGER),
    ("post", "guideline/", MANAGER),
    ("post", "cohorts/", MANAGER),
    ("post", "settings/", MANAGER),
]
BOTH_METHODS = {
    "imports/",
    "imports/{import}/",
    "snapshots/",
    "members/",
    "guideline/",
    "cohorts/",
    "cohorts/{cohort}/",
    "settings/",
}


@pytest.fixture
def things(project, pair):
    """Return the ids that addresses name."""
    snapshot = create_snapshot(project=project, body={"name": "First"}, created_by=None)
    job = enqueue(kind="training", project=project, inputs={})
    scorer = Scorer.objects.create(project=project, name="Reward model 1", kind="reward_model")
    model = RewardModel.objects.create(
        project=project, version=1, recipe={}, recipe_hash="x", snapshot=snapshot, scorer=scorer, folder="x"
    )
    run = TrainingRun.objects.create(project=project, recipe={}, snapshot=snapshot, job=job)
    cohort = project.cohorts.create(name="First")
    made = start_import_of_items(project=project, items=[{}], created_by=None)
    rows = {"comparison": pair, "snapshot": snapshot, "job": job, "model": model, "run": run, "cohort": cohort}
    rows["import"] = made
    searching = enqueue(kind="recipe_search", project=project, inputs={})
    grid = {"epochs": [3]}
    rows["search"] = RecipeSearch.objects.create(
        project=project, recipe={}, grid=grid, minutes=1, snapshot=snapshot, job=searching
    )
    return {name: row.pk for name, row in rows.items()}


@pytest.fixture
def people(manager, reviewer, annotator, researcher):
    return {"manager": manager, "reviewer": reviewer, "annotator": annotator, "researcher": researcher}


def address(path: str, things: dict[str, int]) -> str:
    return "/projects/tides/" + path.format(**things)


@pytest.mark.parametrize(("method", "path", "roles"), ROUTES)
def test_each_role_gets_in_or_gets_403(as_user, people, things, method, path, roles):
    for role, person in people.items():
        status = getattr(as_user(person), method)(address(path, things)).status_code
        assert (status != 403) is (role in roles), f"{role}: {status}"
        assert status < 500


@pytest.mark.parametrize(("method", "path", "roles"), ROUTES)
def test_a_stranger_gets_404_and_learns_nothing(as_user, stranger, things, method, path, roles):
    response = getattr(as_user(stranger), method)(address(path, things))
    assert response.status_code == 404
    assert "Tides" not in response.content.decode()


@pytest.mark.parametrize(("method", "path", "roles"), ROUTES)
def test_somebody_signed_out_goes_to_the_sign_in_page(things, method, path, roles):
    response = getattr(Client(), method)(address(path, things))
    assert response.status_code == 302
    assert response.headers["Location"].startswith("/login/?next=")


@pytest.mark.parametrize(("method", "path", "roles"), ROUTES)
def test_other_methods_are_not_allowed(as_user, manager, things, method, path, roles):
    allowed = {"get", "post"} if path in BOTH_METHODS else {method}
    client = as_user(manager)
    for other in {"get", "post", "put", "delete", "patch"} - allowed:
        assert getattr(client, other)(address(path, things)).status_code == 405, other


@pytest.mark.parametrize("path", ["comparisons", "imports", "jobs", "snapshots", "training-runs"])
def test_a_thing_of_another_project_is_not_found(as_user, manager, things, path):
    assert as_user(manager).get(f"/projects/tides/{path}/999999/").status_code == 404


def test_an_id_too_large_for_the_database_is_not_found(as_user, manager, project):
    client = as_user(manager)
    for path in ("comparisons", "imports", "jobs", "snapshots", "training-runs"):
        assert client.get(f"/projects/tides/{path}/{'9' * 30}/").status_code == 404
    assert client.get(f"/assignments/{'9' * 30}/").status_code == 404


def test_an_administrator_is_let_in_everywhere_as_manager(as_user, stranger, project):
    stranger.is_superuser = True
    stranger.save()
    client = as_user(stranger)
    assert client.get("/projects/tides/members/").status_code == 200
    assert "Other projects" in client.get("/").content.decode()
