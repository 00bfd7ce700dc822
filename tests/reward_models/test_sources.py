"""Where the rows of a benchmark come from, and which control pairs a project has."""

import hashlib
import json

import pytest
from django.core.management import CommandError, call_command

from apps.core.artifacts import store_file
from apps.core.errors import InvalidInput
from apps.exports.services import create_snapshot
from apps.jobs.models import Job
from apps.labeling.models import Consensus
from apps.prompts.models import Comparison
from apps.reward_models.evaluations import benchmark_rows, control_pairs, start_evaluation
from apps.reward_models.models import RewardModel
from apps.signals.models import Scorer
from tests.exports.rows import ONE, written
from tests.factories import ComparisonFactory
from worker.core.reward_benchmarks import BENCHMARKS, BenchmarkError

LINES = b'{"prompt": "?", "chosen": "a", "rejected": "b"}\n'


def no_hub(dataset):
    raise AssertionError("nothing asks the hub")


def items_of(source):
    with benchmark_rows(source, no_hub) as (rows, file_hash):
        return BENCHMARKS["reward-bench"].read(rows), file_hash


@pytest.fixture
def folder(settings, tmp_path):
    settings.BENCHMARKS_DIR = tmp_path / "benchmarks"
    (settings.BENCHMARKS_DIR / "inner").mkdir(parents=True)
    return settings.BENCHMARKS_DIR


def test_a_file_below_the_workers_folder_is_read_and_hashed(folder):
    (folder / "inner" / "rows.jsonl").write_bytes(LINES)
    (item,), file_hash = items_of({"path": "inner/rows.jsonl", "name": "rows.jsonl"})
    assert item.responses == ("a", "b")
    assert file_hash == hashlib.sha256(LINES).hexdigest()


def test_a_json_array_is_read_as_well(folder):
    (folder / "rows.json").write_text(json.dumps([json.loads(LINES)] * 3))
    assert len(items_of({"path": "rows.json", "name": "rows.json"})[0]) == 3


@pytest.mark.parametrize("path", ["missing.jsonl", "../outside.jsonl", "link.jsonl", "inner"])
def test_nothing_outside_of_that_folder_is_read(folder, path):
    outside = folder.parent / "outside.jsonl"
    outside.write_bytes(LINES)
    (folder / "link.jsonl").symlink_to(outside)
    with pytest.raises(InvalidInput, match="no file"):
        items_of({"path": path, "name": "x"})


def test_the_pieces_of_an_upload_are_one_file(tmp_path):
    for number, piece in enumerate((LINES[:9], LINES[9:])):
        (tmp_path / "piece").write_bytes(piece)
        store_file(tmp_path / "piece", f"uploads/test/{number}")
    names = ["uploads/test/0", "uploads/test/1"]
    (item,), file_hash = items_of({"pieces": names, "name": "rows.jsonl"})
    assert (item.prompt, file_hash) == ("?", hashlib.sha256(LINES).hexdigest())
    with pytest.raises(InvalidInput, match="gone"):
        items_of({"pieces": [*names, "uploads/test/2"], "name": "rows.jsonl"})


def test_a_row_that_is_no_json_is_named(folder):
    (folder / "rows.jsonl").write_bytes(LINES + b"{broken\n")
    with pytest.raises(BenchmarkError, match="Row 2: "):
        items_of({"path": "rows.jsonl", "name": "rows.jsonl"})


def test_every_split_of_a_dataset_is_read(db):
    splits = {"gpt": [(1, "first")], "claude": [(1, "second")]}
    source = {"datasets": [{"name": "a/b", "split": "gpt"}, {"name": "a/b", "split": "claude"}]}
    with benchmark_rows(source, lambda dataset: iter(splits[dataset["split"]])) as (rows, file_hash):
        assert [row for _, row in rows] == ["first", "second"]
    assert file_hash == ""


def test_control_pairs_are_those_with_a_known_answer_that_nothing_was_trained_on(project):
    for gold in (None, 0, -2, 3, 1):
        ComparisonFactory(project=project, external_id=f"gold {gold}", gold=gold)
    ComparisonFactory(gold=1)
    pairs, learned = control_pairs(project)
    assert [(pair.id, pair.preference) for pair in pairs] == [("gold -2", -2), ("gold 3", 3), ("gold 1", 1)]
    assert learned == 0
    for gold, preference in ((3, 2), (1, None)):  # people could not agree on the second, so training leaves it out
        Consensus.objects.create(
            comparison=Comparison.objects.get(project=project, external_id=f"gold {gold}"),
            project=project,
            status="agreed" if preference else "excluded",
            preference=preference,
            rule="test",
            annotation_count=3,
        )
    trained_on, held_out = (written(project, {**ONE, "splits": {name: 1.0}}) for name in ("train", "validation"))
    pairs, learned = control_pairs(project, trained_on, held_out)
    assert ([pair.id for pair in pairs], learned) == (["gold -2", "gold 1"], 1)
    assert control_pairs(project, held_out)[1] == 0


def test_the_command_starts_a_measurement(project, tmp_path, capsys):
    (tmp_path / "rows.jsonl").write_bytes(LINES)
    with pytest.raises(CommandError, match="no current reward model"):
        call_command("evaluate", "tides", "held-out")
    snapshot = create_snapshot(project=project, body={"name": "S"}, created_by=None)
    scorer = Scorer.objects.create(project=project, name="Reward model 1", kind="reward_model")
    made = {"recipe": {}, "recipe_hash": "x", "snapshot": snapshot, "scorer": scorer}
    model = RewardModel.objects.create(project=project, version=1, state="current", **made)
    call_command("evaluate", "tides", "reward-bench", "--file", str(tmp_path / "rows.jsonl"))
    job = Job.objects.get()
    assert (job.inputs["reward_model"], job.inputs["source"]["name"]) == (str(model.pk), "rows.jsonl")
    assert "Evaluation of version 1" in capsys.readouterr().out
    for words, asked in (
        ("no project", ["nowhere", "held-out"]),
        ("no version 7", ["tides", "held-out", "--model", "7"]),
    ):
        with pytest.raises(CommandError, match=words):
            call_command("evaluate", *asked)
    with pytest.raises(CommandError, match="cannot be read"):
        call_command("evaluate", "tides", "reward-bench", "--file", str(tmp_path / "missing"))


def test_an_empty_name_of_a_benchmark_is_no_benchmark(project):
    with pytest.raises(InvalidInput, match="Use one of held-out, reward-bench"):
        start_evaluation(model=None, benchmark="", created_by=None)
