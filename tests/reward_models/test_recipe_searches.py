"""A recipe search tries a grid on the validation split, goes on where it stopped, and its find can be used."""

import json
import threading

import pytest

from apps.core.errors import Conflict
from apps.exports.services import write_snapshot
from apps.imports.services import import_stream
from apps.jobs.models import Job
from apps.jobs.services import cancel
from apps.projects.models import Project
from apps.reward_models.evaluations import chosen_on, held_out_rows
from apps.reward_models.models import RecipeSearch, RewardModel, TrainingRun
from apps.reward_models.run_folders import folder_of
from apps.reward_models.run_inputs import write_run_folder
from apps.reward_models.search_chart import chart_of
from apps.reward_models.searches import start_search, use_recipe
from apps.reward_models.services import resume_training, start_training
from tests.api.conftest import Api, pointers, problem
from tests.core.conftest import encoder_folder  # noqa: F401 a fixture
from tests.e2e.running import wait_until
from tests.exports.rows import labels
from tests.factories import MembershipFactory, ProjectFactory, UserFactory
from worker.core.training.recipe import Recipe
from worker.core.training.search import best_trial, combinations, default_grid, first_of_its_training
from worker.tasks.running import stop_working, stopping
from worker.tasks.searching import search_recipe
from worker.tasks.training import train_reward_model

pytestmark = pytest.mark.django_db


def rows(count=30):
    """Pairs whose better response says "good clear": the second of odd ones."""
    for number in range(count):
        texts = [{"text": "bad vague"}, {"text": "good clear"}]
        preference = 2 if number % 2 else -2
        yield {
            "external_id": f"q-{number}",
            "prompt": f"why is {number}",
            "responses": texts if number % 2 else texts[::-1],
            "annotations": labels(preference, preference, preference),
        }


def labeled(items, tmp_path):
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(json.dumps(item) + "\n" for item in items))
    project = ProjectFactory(slug="tides")
    with path.open("rb") as stream:
        import_stream(project=project, stream=stream)
    return project


def trial(accuracy, log_loss=0.5, **changes):
    figures = {"accuracy": accuracy, "accuracy_interval": [accuracy - 0.1, accuracy + 0.1], "log_loss": log_loss}
    return {"changes": changes or {"epochs": 3}, "seconds": 1.0, "validation": figures}


def test_combinations_are_all_of_the_grid_in_a_fixed_order():
    grid = {"weight_decay": [0.1, 0.2], "learning_rate": [0.01, 0.03]}
    pairs = [(changes["learning_rate"], changes["weight_decay"]) for changes in combinations(Recipe(), grid)]
    assert pairs == [(0.01, 0.1), (0.01, 0.2), (0.03, 0.1), (0.03, 0.2)]
    grid = {"extrapolation": [1.0, 1.5], "learning_rate": [0.01, 0.03]}
    trials = combinations(Recipe(initialisation="7"), grid)
    assert [first_of_its_training(trials, number) for number in range(4)] == [0, 0, 2, 2]
    assert len(combinations(Recipe(), default_grid(Recipe()))) == 9
    assert len(combinations(Recipe(initialisation="7"), default_grid(Recipe(initialisation="7")))) == 27


def test_the_best_has_the_highest_accuracy_then_the_least_log_loss():
    failed = {"changes": {}, "seconds": 1.0, "error": "It did not work."}
    assert best_trial([failed, trial(0.7), trial(0.8, 0.6), trial(0.8, 0.4)]) == 3
    assert best_trial([failed]) is None


def test_the_plot_puts_the_best_on_top_with_its_interval():
    chart = chart_of([trial(0.6), trial(0.8), {"changes": {}, "seconds": 1.0, "error": "x"}])
    assert [bar.number for bar in chart.bars] == [2, 1]
    # 0.5 to 0.9 on 60 to 620: 140 pixels for a tenth
    assert [(bar.low, bar.dot, bar.high) for bar in chart.bars] == [(340.0, 480.0, 620.0), (60.0, 200.0, 340.0)]
    assert chart_of([]) is None


def test_training_gets_votes_and_ties_and_counts_what_has_no_preference(tmp_path):
    tie, neither = labels(1, -1, 0), labels("neither", "neither", "neither")
    disputed = labels(-3, 3, 3, -3, 3)
    items = [*rows(9), *({"prompt": text, "responses": [{"text": "a"}, {"text": "b"}]} for text in ("t", "n", "d"))]
    for item, said in zip(items[-3:], (tie, neither, disputed), strict=True):
        item["annotations"] = said
    run = start_training(project=labeled(items, tmp_path))
    write_snapshot(snapshot=run.snapshot)
    write_run_folder(run=run, folder=tmp_path / "run")
    found = {}
    for split in ("train", "validation"):
        lines = (tmp_path / "run" / f"{split}.jsonl").read_text().splitlines()
        found |= {row["id"]: row for row in map(json.loads, lines)}
    settings = json.loads((tmp_path / "run" / "settings.json").read_text())
    counted = {}
    for reasons in settings["left_out"].values():
        counted = {name: counted.get(name, 0) + reasons.get(name, 0) for name in {*counted, *reasons}}
    assert found["q-1"]["votes"] == [2, 2, 2]
    assert sorted(row["votes"] for row in found.values() if row["preference"] == 0) == [[1, -1, 0]]
    assert len(found) + sum(counted.values()) == 12
    assert counted["neither valid"] == 1


def test_a_version_with_a_recipe_that_a_search_compared_on_the_same_prompts_is_marked(tmp_path):
    project = labeled(rows(12), tmp_path)
    search = start_search(project=project, grid={"epochs": [3, 5]})
    write_snapshot(snapshot=search.snapshot)
    prompts = {row["prompt_hash"] for row in held_out_rows(search.snapshot)}
    assert prompts
    found = {**search.recipe, "epochs": 5, "seed": 7, "name": "best"}
    assert chosen_on(project, found, prompts, None) is None  # nothing is measured yet
    RecipeSearch.objects.update(trials=[trial(0.6, epochs=3), trial(0.8, epochs=5)])
    marked = {"search": str(search.pk), "trials": 2, "prompts": len(prompts), "same_recipe": False}
    assert chosen_on(project, found, {*prompts, "labeled since"}, None) == marked
    assert chosen_on(project, found, prompts, RewardModel(recipe={**found, "epochs": 4})) == marked
    assert chosen_on(project, found, prompts, RewardModel(recipe={**found, "seed": 1}))["same_recipe"]
    assert chosen_on(project, {**found, "epochs": 4}, prompts, None) is None
    assert chosen_on(project, found, {"labeled since"}, None) is None


@pytest.mark.django_db(transaction=True)
def test_a_search_goes_on_where_a_killed_worker_stopped_and_its_find_is_trained(
    tmp_path,
    encoder_folder,  # noqa: F811
    settings,
):
    settings.BACKBONES_DIR = encoder_folder.parent
    project = labeled(rows(), tmp_path)
    search = start_search(
        project=project,
        recipe={"backbone": encoder_folder.name, "max_tokens": 64},
        grid={"learning_rate": [1e-6, 0.03], "epochs": [2]},
    )
    assert start_search(project=project).pk == search.pk  # a button pressed twice
    assert start_search(project=project, grid=search.grid).pk == search.pk
    for asked in ({"grid": {"epochs": [2]}}, {"recipe": {"epochs": 7}}):
        with pytest.raises(Conflict, match="Another search"):
            start_search(project=project, **asked)
    before = trial(0.5, learning_rate=1e-6, epochs=2)
    RecipeSearch.objects.update(trials=[before])  # what the worker had stored when it was killed
    search_recipe(search.job_id)
    search.refresh_from_db()
    job = Job.objects.get(pk=search.job_id)
    assert (job.error, job.state) == ("", "succeeded")
    assert search.trials[0] == before
    assert search.trials[1]["changes"] == {"learning_rate": 0.03, "epochs": 2}
    assert search.trials[1]["validation"]["accuracy"] == 1.0
    assert job.result == {"recipe_search": str(search.pk), "tried": 2, "of": 2, "best": 1}
    run = use_recipe(search=search)
    assert (run.recipe["learning_rate"], run.recipe["epochs"]) == (0.03, 2)
    assert not RewardModel.objects.exists()


@pytest.mark.django_db(transaction=True)
def test_a_search_whose_time_is_over_tries_nothing_more(tmp_path):
    search = start_search(project=labeled(rows(9), tmp_path), grid={"epochs": [2, 3]}, minutes=1)
    RecipeSearch.objects.update(trials=[trial(0.5, epochs=2) | {"seconds": 60.0}])
    search_recipe(search.job_id)
    assert Job.objects.get(pk=search.job_id).result["tried"] == 1


@pytest.fixture
def api(tmp_path):
    project = labeled(rows(9), tmp_path)
    return Api(MembershipFactory(project=project, user=UserFactory(), role="researcher").user)


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({"grid": {}}, "/grid"),
        ({"grid": {"colour": [1]}}, "/grid"),
        ({"grid": {"epochs": []}}, "/grid"),
        ({"grid": {"epochs": [1, 1]}}, "/grid"),
        ({"grid": {"epochs": [0]}}, "/grid"),
        ({"grid": {"learning_rate": [{}]}}, "/grid"),
        ({"grid": {"extrapolation": [1.5]}}, "/grid"),
        ({"grid": {"epochs": list(range(1, 50))}}, "/grid"),
        ({"minutes": 0}, "/minutes"),
        ({"recipe": {"objective": "dpo"}}, "/recipe"),
        ({"snapshot": "7"}, "/snapshot"),
    ],
)
def test_a_wrong_search_is_422_and_starts_nothing(api, body, pointer):
    assert pointers(api.post("projects/tides/recipe-searches/", body)) == [pointer]
    assert not RecipeSearch.objects.exists()


def test_a_search_over_rest(api):
    reply = api.post("projects/tides/recipe-searches/", {"grid": {"epochs": [3, 5]}, "minutes": 5})
    assert (reply.status_code, reply.json()["job"]["kind"]) == (202, "recipe_search")
    address = f"recipe-searches/{reply.json()['id']}/"
    problem(api.post(f"{address}use/", {}), 409)
    again = {"grid": {"epochs": [3, 5]}}
    assert api.post("projects/tides/recipe-searches/", again).json()["id"] == reply.json()["id"]
    problem(api.post("projects/tides/recipe-searches/", {**again, "minutes": 6}), 409)
    RecipeSearch.objects.update(trials=[trial(0.6, epochs=3), trial(0.8, epochs=5)])
    body = api.get(address).json()
    assert (body["best"], body["grid"], body["minutes"]) == (1, {"epochs": [3, 5]}, 5)
    assert pointers(api.post(f"{address}use/", {"trial": 2})) == ["/trial"]
    assert api.post(f"{address}use/", {}).status_code == 202
    assert TrainingRun.objects.get().recipe["epochs"] == 5
    (listed,) = api.get("projects/tides/recipe-searches/").json()["results"]
    assert listed == {name: value for name, value in body.items() if name not in {"recipe", "trials", "best"}}


def test_the_page_shows_plot_and_table_and_starts_a_training(api, client):
    project = Project.objects.get()
    client.force_login(project.memberships.get(role="researcher").user)
    assert (
        client.post("/projects/tides/recipe-searches/start/", {"learning_rate": "fast", "minutes": 5}).status_code
        == 302
    )
    assert not RecipeSearch.objects.exists()
    client.post("/projects/tides/recipe-searches/start/", {"learning_rate": "0.01 0.03", "minutes": 5})
    search = RecipeSearch.objects.get()
    assert search.grid == {"learning_rate": [0.01, 0.03]}
    address = f"/projects/tides/recipe-searches/{search.pk}/"
    assert "Nothing has been measured yet." in client.get(address).content.decode()
    failed = {"changes": {"learning_rate": 0.03}, "seconds": 1.0, "error": "The loss is <nan>."}
    RecipeSearch.objects.update(trials=[trial(0.7, learning_rate=0.01), failed])
    Job.objects.filter(pk=search.job_id).update(state="succeeded")
    page = client.get(address).content.decode()
    assert "<circle" in page
    assert "The loss is &lt;nan&gt;." in page
    assert client.get(address, headers={"HX-Request": "true"}).status_code == 286
    client.post(f"{address}use/0/")
    assert TrainingRun.objects.get().recipe["learning_rate"] == 0.01


@pytest.mark.django_db(transaction=True)
def test_a_worker_that_shuts_down_gives_its_training_back_and_it_is_taken_up_from_there(
    tmp_path,
    encoder_folder,  # noqa: F811
    settings,
):
    settings.BACKBONES_DIR = encoder_folder.parent
    recipe = {"backbone": encoder_folder.name, "max_tokens": 64, "epochs": 10_000}
    run = start_training(project=labeled(rows(), tmp_path), recipe=recipe)
    Job.objects.update(attempt=4)

    def shut_down():
        checkpoints = f"{run.pk}-*/checkpoint.safetensors"
        try:
            wait_until(lambda: list(settings.RUNS_DIR.glob(checkpoints)), 240, "there is a checkpoint", pause=0.01)
        finally:
            stop_working()

    thread = threading.Thread(target=shut_down)
    thread.start()
    try:
        train_reward_model(run.job_id)
    finally:
        thread.join()
        stopping.clear()
    job = Job.objects.get()
    assert (job.state, job.attempt, job.error) == ("queued", 0, "")
    cancel(job=job)
    run.refresh_from_db()
    stopped_at = run.history[-1].get("step")
    train_reward_model(resume_training(run=run).job_id)
    run.refresh_from_db()
    assert (run.job.state, run.job.error, run.reward_model.version) == ("succeeded", "", 1)
    steps = [event["step"] for event in run.history if event["event"] == "step"]
    assert steps == sorted(steps)
    assert sorted(file.name for file in folder_of(run).iterdir()) == ["metrics.json", "recipe.json", "train.log"]
    assert 0 < stopped_at < steps[-1] == 10_000
