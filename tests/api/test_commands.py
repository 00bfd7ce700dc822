"""The management commands that users script against."""

import hashlib
import io
import json

import pytest
from django.core.management import CommandError, call_command

from apps.accounts.models import ApiToken
from apps.exports.models import Snapshot
from apps.jobs.models import Job
from apps.jobs.services import note_worker
from apps.projects.models import Project
from apps.reward_models.models import TrainingRun
from tests.api.conftest import Api

pytestmark = pytest.mark.django_db
ROW = {"external_id": "q-1", "prompt": "Why?", "responses": ["Because.", "Why not?"]}


def run(*args, **options):
    out, err = io.StringIO(), io.StringIO()
    call_command(*map(str, args), stdout=out, stderr=err, **options)
    return out.getvalue(), err.getvalue()


def test_create_token_prints_the_key_alone_on_its_last_line(manager):
    out, _ = run("create_token", "mara", "--scope", "write")
    key = out.splitlines()[-1]
    assert ApiToken.objects.usable(key).user == manager
    assert ApiToken.objects.get().scope == "write"
    assert key not in ApiToken.objects.get().digest


def test_a_token_reads_unless_told_otherwise(manager):
    run("create_token", "mara")
    assert ApiToken.objects.get().scope == "read"


def test_create_token_knows_who_cannot_use_one(manager):
    with pytest.raises(CommandError, match="No account is named 'nobody'"):
        run("create_token", "nobody")
    manager.is_active = False
    manager.save()
    with pytest.raises(CommandError, match="not active"):
        run("create_token", "mara")
    assert not ApiToken.objects.exists()


@pytest.mark.parametrize("as_array", [False, True])
def test_import_pairs_reports_good_and_bad_rows(project, tmp_path, as_array):
    rows = [ROW, {"prompt": "no responses"}]
    path = tmp_path / "pairs"
    path.write_text(json.dumps(rows) if as_array else "\n".join(map(json.dumps, rows)))
    out, err = run("import_pairs", path, "--project", "tides", "--format", "json" if as_array else "jsonl")
    assert out == "1 created, 0 updated, 0 unchanged, 1 rejected\n"
    assert "line 2: /responses:" in err
    assert project.comparisons.get().external_id == "q-1"
    assert "1 unchanged" in run("import_pairs", path, "--project", "tides")[0]


def test_import_pairs_fails_when_nothing_could_be_imported(project, tmp_path):
    path = tmp_path / "bad.jsonl"
    path.write_text('{"prompt": 1}\n' * 25)
    with pytest.raises(CommandError, match="Nothing could be imported") as failed:
        run("import_pairs", path, "--project", "tides")
    assert failed.value.returncode == 1


def test_import_pairs_insists_on_the_format_and_finds_its_file_and_project(project, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(ROW))
    for args, words in [
        ((path, "--project", "tides", "--format", "json"), "is jsonl, not json"),
        ((path, "--project", "nothing"), "no project 'nothing'"),
        ((tmp_path / "missing", "--project", "tides"), "No such file"),
        ((path, "--project", "tides", "--format", "csv"), "is jsonl, not csv"),
        ((path, "--project", "tides", "--format", "yaml"), "invalid choice"),
    ]:
        with pytest.raises(CommandError, match=words):
            run("import_pairs", *args)
    assert not project.comparisons.exists()


def test_import_pairs_starts_scoring_when_there_is_a_scorer(world, tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text(json.dumps(ROW))
    out, _ = run("import_pairs", path, "--project", "tides")
    assert f"Scoring job {Job.objects.get(kind='scoring').pk}" in out


def test_export_snapshot_writes_the_files_and_the_manifest(world, tmp_path):
    folder = tmp_path / "new" / "folder"
    out, _ = run("export_snapshot", "tides", "--format", "annotations", "--output", folder)
    manifest = json.loads((folder / "manifest.json").read_text())
    names = ["README.md", "croissant.json", "manifest.json", "train.jsonl", "validation.jsonl"]
    assert sorted(path.name for path in folder.iterdir()) == names
    for split in ("train", "validation"):
        data = (folder / f"{split}.jsonl").read_bytes()
        assert hashlib.sha256(data).hexdigest() == manifest["files"][f"annotations/{split}.jsonl"]["sha256"]
    assert sum(len((folder / f"{split}.jsonl").read_bytes().splitlines()) for split in ("train", "validation")) == 1
    assert manifest["content_hash"] == Snapshot.objects.latest("pk").content_hash
    assert manifest["content_hash"] in out


def test_export_snapshot_says_what_is_wrong(project, tmp_path):
    (tmp_path / "file").write_text("")
    for args, words in [
        (("nothing", "--format", "annotations", "--output", tmp_path), "no project"),
        (("tides", "--format", "nonsense", "--output", tmp_path), "invalid choice"),
        (("tides", "--format", "annotations", "--output", tmp_path / "file"), "cannot be written"),
    ]:
        with pytest.raises(CommandError, match=words):
            run("export_snapshot", *args)


def test_train_starts_a_run_and_says_whether_a_worker_will_take_it(world, tmp_path):
    Job.objects.filter(kind="training").update(state="succeeded")
    recipe = tmp_path / "recipe.json"
    recipe.write_text('{"epochs": 2}')
    out, _ = run("train", "tides", "--recipe", recipe)
    started = TrainingRun.objects.latest("pk")
    assert started.recipe["epochs"] == 2
    assert out.splitlines()[0] == f"Training run {started.pk}, job {started.job_id}"
    assert "No gpu worker is running" in out
    note_worker(name="gpu@here", queues=["gpu"])
    assert "will take it" in run("train", "tides")[0]


@pytest.mark.parametrize("text", ["{", "[]", '{"epochs": "x"}', '{"name": "\\u0000"}', "\xff"])
def test_train_says_what_is_wrong_with_a_recipe(world, tmp_path, text):
    Job.objects.filter(kind="training").update(state="succeeded")
    recipe = tmp_path / "recipe.json"
    recipe.write_bytes(text.encode("latin-1"))
    with pytest.raises(CommandError):
        run("train", "tides", "--recipe", recipe)
    assert TrainingRun.objects.count() == 1


def test_train_needs_labels_and_a_project(project):
    with pytest.raises(CommandError, match="0 consensus labels"):
        run("train", "tides")
    with pytest.raises(CommandError, match="no project"):
        run("train", "nothing")
    assert Project.objects.count() == 1


def test_the_printed_key_opens_the_api(manager):
    key = run("create_token", "mara")[0].splitlines()[-1]
    api = Api(None)
    assert api.get("projects/", headers={"Authorization": f"Token {key}"}).status_code == 200
