"""Training runs and reward models over REST."""

import io
import tarfile

import pytest

from apps.exports.services import create_snapshot
from apps.jobs.models import Job
from apps.projects.models import AuditEvent
from apps.reward_models.models import RewardModel, TrainingRun
from apps.signals.models import Scorer
from tests.api.conftest import MODEL_FILES, Api, pointers, problem
from tests.factories import ComparisonFactory, MembershipFactory, ProjectFactory
from worker.core.training.recipe import Recipe

pytestmark = pytest.mark.django_db
RUNS = "projects/tides/training-runs/"


@pytest.fixture
def api(researcher):
    return Api(researcher)


@pytest.fixture
def idle(world):
    """The world without its unfinished training."""
    Job.objects.filter(kind="training").update(state="succeeded")
    return world


def test_a_training_starts_with_a_snapshot_and_a_recipe(api, idle):
    reply = api.post(RUNS, {"recipe": {"epochs": 3}, "snapshot": str(idle.snapshot.pk)})
    assert reply.status_code == 202
    body = reply.json()
    run = TrainingRun.objects.get(pk=body["id"])
    assert (run.recipe["epochs"], run.snapshot, body["job"]["id"]) == (3, idle.snapshot, str(run.job_id))
    assert run.created_by.username == "remy"


@pytest.mark.parametrize("body", [{}, {"snapshot": None}, {"recipe": {}}])
def test_without_a_snapshot_a_new_one_is_frozen(api, idle, body):
    run = TrainingRun.objects.get(pk=api.post(RUNS, body).json()["id"])
    assert run.snapshot.selection["splits"] == {"train": 0.8, "validation": 0.2}


def test_while_one_is_unfinished_that_one_is_the_reply(api, world):
    assert api.post(RUNS, {}).json()["id"] == str(world.run.pk)
    assert TrainingRun.objects.count() == 1


def test_while_one_is_unfinished_another_recipe_or_snapshot_is_409(api, world):
    detail = problem(api.post(RUNS, {"recipe": {"epochs": 3}}), 409)["detail"]
    assert detail.startswith("Another training of this project is running")
    other = create_snapshot(project=world.project, body={"name": "Other", "splits": {"train": 1.0}}, created_by=None)
    TrainingRun.objects.update(recipe=Recipe(epochs=3).to_dict())
    problem(api.post(RUNS, {"recipe": {}}), 409)  # the project's own, which is another one
    assert api.post(RUNS, {"recipe": {"epochs": 3}}).json()["id"] == str(world.run.pk)
    same = {"recipe": {"epochs": 3}, "snapshot": str(TrainingRun.objects.get().snapshot_id)}
    assert api.post(RUNS, same).json()["id"] == str(world.run.pk)
    problem(api.post(RUNS, {"snapshot": str(other.pk)}), 409)
    assert TrainingRun.objects.count() == 1


def test_a_training_that_failed_is_taken_up_again_in_a_new_job(api, world, client, researcher):
    path, first = f"training-runs/{world.run.pk}/resume/", world.run.job
    client.force_login(researcher)
    page = f"/projects/tides/training-runs/{world.run.pk}/"
    assert "not over" in problem(api.post(path), 409)["detail"]
    assert "resume" not in client.get(page).content.decode()
    Job.objects.filter(pk=first.pk).update(state="failed", error="The worker died 5 times.")
    assert f'action="{page}resume/"' in client.get(page).content.decode()
    body = api.post(path).json()
    world.run.refresh_from_db()
    assert (body["id"], body["job"]["id"]) == (str(world.run.pk), str(world.run.job_id))
    assert (world.run.job.state, world.run.job.attempt, first.pk != world.run.job_id) == ("queued", 0, True)
    problem(api.post(path), 409)
    Job.objects.filter(pk=world.run.job_id).update(state="cancelled")
    other = Job.objects.create(project=world.project, kind="training", key="training")
    TrainingRun.objects.create(project=world.project, recipe={}, snapshot=world.snapshot, job=other)
    assert "Another training" in problem(api.post(path), 409)["detail"]
    assert client.post(f"{page}resume/").status_code == 302
    Job.objects.filter(pk=other.pk).update(state="succeeded")
    Job.objects.filter(pk=world.run.job_id).update(state="succeeded")
    assert "nothing to resume" in problem(api.post(path), 409)["detail"]


def test_too_few_labels_are_409(api, project):
    ComparisonFactory(project=project)
    assert "0 consensus labels" in problem(api.post(RUNS, {}), 409)["detail"]
    assert not Job.objects.exists()


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"recipe": []}, "/recipe"),
        ({"recipe": None}, "/recipe"),
        ({"recipe": {"epochs": "many"}}, "/recipe"),
        ({"recipe": {"colour": "red"}}, "/recipe"),
        ({"recipe": {"tuning": "full", "lora_rank": 4}}, "/recipe"),
        ({"recipe": {"tuning": "lora", "processes": 10**9}}, "/recipe"),
        ({"recipe": {"tuning": ["lora"]}}, "/recipe"),
        ({"recipe": {"learning_rate": 10**400}}, "/recipe"),
        ({"recipe": {"backbone": "/etc"}}, "/recipe"),
        ({"recipe": {"backbone": "../artifacts/reward-models/run-3-1"}}, "/recipe"),
        ({"recipe": {"backbone": "\x00"}}, "/recipe"),
        ({"recipe": {"weight_decay": 10**400}}, "/recipe"),
        ({"recipe": {"strength_map": {"1": 1, "2": 2, "3": 10**400}}}, "/recipe"),
        ({"recipe": {"name": "\x00"}}, "/recipe"),
        ({"recipe": {"name": "n" * 100_000}}, "/recipe"),
        ({"recipe": {"objective": ["x"]}}, "/recipe"),
        ({"recipe": {"strength_map": [1]}}, "/recipe"),
        ({"recipe": {"initialisation": "9" * 40}}, "/recipe/initialisation"),
        ({"snapshot": "99999999"}, "/snapshot"),
        ({"snapshot": "9" * 40}, "/snapshot"),
        ({"snapshot": "x"}, "/snapshot"),
        ({"snapshot": 7}, "/snapshot"),
        ({"epochs": 3}, "/epochs"),
    ],
)
def test_a_wrong_training_is_422_and_starts_nothing(api, idle, body, pointer):
    assert pointers(api.post(RUNS, body)) == [pointer]
    assert TrainingRun.objects.count() == 1


def test_a_snapshot_of_another_project_does_not_exist(api, idle, researcher):
    other = ProjectFactory()
    MembershipFactory(project=other, user=researcher, role="researcher")
    snapshot = other.snapshots.create(name="theirs", selection={"splits": {"train": 1.0}})
    assert pointers(api.post(RUNS, {"snapshot": str(snapshot.pk)})) == ["/snapshot"]


def test_a_run_shows_its_recipe_and_its_history(api, world, django_assert_num_queries):
    world.run.history = [{"event": "step", "step": 1, "loss": 0.69}]
    world.run.save()
    body = api.get(f"training-runs/{world.run.pk}/").json()
    assert (body["history"], body["trigger"], body["labels"]) == (world.run.history, "person", 8)
    assert (body["recipe"]["tuning"], body["reward_model"], body["job"]["kind"]) == ("head", None, "training")
    listed = api.get(RUNS).json()["results"]
    assert listed == [{name: value for name, value in body.items() if name not in {"recipe", "history"}}]
    with django_assert_num_queries(3):  # token, membership, page with jobs
        api.get(RUNS)


def test_a_version_shows_its_lineage(api, world, django_assert_num_queries):
    world.run.reward_model = world.model
    world.run.save()
    body = api.get(f"reward-models/{world.model.pk}/").json()
    assert (body["version"], body["state"]) == (1, "candidate")
    assert (body["parent"], body["current_when_made"]) == (None, None)
    assert (body["snapshot"], body["scorer"]) == (str(world.snapshot.pk), str(world.scorer.pk))
    assert (body["training_run"], body["metrics"]) == (str(world.run.pk), {"accuracy": 0.75})
    assert body["files"] == sorted(MODEL_FILES)
    (listed,) = api.get("projects/tides/reward-models/").json()["results"]
    assert listed == {name: body[name] for name in listed}
    assert api.get("projects/tides/reward-models/?state=current").json()["results"] == []
    with django_assert_num_queries(3):  # token, membership, page
        api.get("projects/tides/reward-models/")


def test_the_start_of_a_version_and_the_current_one_of_the_moment_are_told_apart(api, world):
    def make(number, **fields):
        scorer = Scorer.objects.create(project=world.project, name=f"Reward model {number}", kind="reward_model")
        about = {"project": world.project, "snapshot": world.snapshot, "scorer": scorer, "version": number}
        return RewardModel.objects.create(recipe={}, recipe_hash="x", **about, **fields)

    second = make(2, current_when_made=world.model)
    make(3, parent=world.model, current_when_made=second)
    listed = {each["version"]: each for each in api.get("projects/tides/reward-models/").json()["results"]}
    first = str(world.model.pk)
    assert (listed[2]["parent"], listed[2]["current_when_made"]) == (None, first)
    assert (listed[3]["parent"], listed[3]["current_when_made"]) == (first, str(second.pk))


def test_a_manager_promotes_and_scoring_starts(world, manager):
    reply = Api(manager).post(f"reward-models/{world.model.pk}/promote/")
    assert (reply.status_code, reply.json()["job"]["kind"]) == (202, "scoring")
    world.model.refresh_from_db()
    assert world.model.state == RewardModel.State.CURRENT
    assert AuditEvent.objects.filter(actor=manager, verb="promoted a reward model").exists()
    problem(Api(manager).post(f"reward-models/{world.model.pk}/promote/"), 409)


@pytest.mark.parametrize("who", ["researcher", "annotator", "reviewer"])
def test_others_do_not_promote(request, world, who):
    problem(Api(request.getfixturevalue(who)).post(f"reward-models/{world.model.pk}/promote/"), 403)
    world.model.refresh_from_db()
    assert world.model.state == RewardModel.State.CANDIDATE


def test_the_archive_is_a_tar_of_the_folder(api, world):
    reply = api.get(f"reward-models/{world.model.pk}/archive/")
    data = reply.getvalue()
    assert (reply.status_code, reply.headers["Content-Type"]) == (200, "application/x-tar")
    assert reply.headers["Content-Disposition"] == 'attachment; filename="tides-reward-model-1.tar"'
    assert reply.headers["Content-Length"] == str(len(data))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        files = {member.name: archive.extractfile(member).read() for member in archive}
    assert files == {f"tides-reward-model-1/{name}": content for name, content in MODEL_FILES.items()}
    assert api.get(f"reward-models/{world.model.pk}/archive/").getvalue() == data


def test_head_of_an_archive_tells_its_length(api, world):
    whole = api.get(f"reward-models/{world.model.pk}/archive/").headers["Content-Length"]
    head = api.call("HEAD", f"reward-models/{world.model.pk}/archive/")
    assert (head.headers["Content-Length"], head.content) == (whole, b"")


def test_the_archive_is_never_in_memory_as_a_whole(api, world, settings):
    blocks = [len(block) for block in api.get(f"reward-models/{world.model.pk}/archive/").streaming_content]
    assert len(blocks) == 1 + sum(3 for _ in MODEL_FILES)
    assert max(blocks) == max(len(content) for content in MODEL_FILES.values())


def test_long_names_fit_into_the_archive(api, world, tmp_path):
    from apps.core.artifacts import store_folder

    name = "a" * 120 + "/" + "ü" * 100
    (tmp_path / "long" / name).parent.mkdir(parents=True)
    (tmp_path / "long" / name).write_bytes(b"x")
    world.model.files = store_folder(tmp_path / "long", world.model.folder)
    world.model.save()
    reply = api.get(f"reward-models/{world.model.pk}/archive/")
    data = reply.getvalue()
    assert reply.headers["Content-Length"] == str(len(data))
    with tarfile.open(fileobj=io.BytesIO(data)) as archive:
        assert archive.getnames() == [f"tides-reward-model-1/{name}"]
