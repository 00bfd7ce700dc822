"""Whole backbones and adapters are trained by the command, load elsewhere, and survive being stopped anywhere."""

import json
import os
import resource
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import load_file
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from tests.core.conftest import WORDS, pair_row
from tests.core.test_training_command import ROOT, kinds, read_until
from worker.core.features import FeatureCache
from worker.core.scoring import Scorer
from worker.core.training.tuning import Saving

QUICK = {"learning_rate": 0.01, "epochs": 4, "batch_pairs": 8, "max_tokens": 48}
DECODER = {"pooling": "last"} | QUICK
LONG = " ".join(WORDS * 8)
PAIRS = [("why is the tide", "good clear"), ("what", "bad"), (LONG, "the moon is kind"), ("how", LONG), ("", "a b")]


def weights(run: Path) -> dict[str, np.ndarray]:
    files = sorted((run / "model").rglob("*.safetensors"))
    return {f"{file.name} {name}": value for file in files for name, value in load_file(file).items()}


@pytest.fixture
def decoder(chat_decoder_folder: Path) -> dict[str, Any]:
    return DECODER | {"backbone": str(chat_decoder_folder)}


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_trained_decoder_scores_the_same_in_the_standard_loader(
    tuning: str, decoder: dict[str, Any], make_run: Any, train: Any, cache: FeatureCache
) -> None:
    run = make_run(tuning=tuning, **decoder)
    code, events = train(run)
    assert code == 0, events[-1]
    steps = kinds(events, "step")
    assert [step["step"] for step in steps] == list(range(1, 13))  # 20 pairs in batches of 8, 4 epochs
    assert steps[-1]["loss"] < 0.7 * steps[0]["loss"]
    assert all(step["pairs_per_second"] > 0 and step["tokens_per_second"] > step["pairs_per_second"] for step in steps)
    ours, deviations = Scorer.load(run / "model").score_with_uncertainty(PAIRS, cache)
    assert deviations is not None  # of the head, the trained backbone taken as given
    assert ((deviations > 0) & np.isfinite(deviations)).all()
    tokenizer = AutoTokenizer.from_pretrained(run / "model")
    model = AutoModelForSequenceClassification.from_pretrained(run / "model").eval()
    assert (model.config.problem_type, model.config.num_labels) == ("regression", 1)
    for (prompt, response), mine in zip(PAIRS, ours, strict=True):
        chat = [{"role": "user", "content": prompt}, {"role": "assistant", "content": response}]
        inputs = tokenizer.apply_chat_template(
            chat, truncation=True, max_length=tokenizer.model_max_length, return_dict=True, return_tensors="pt"
        )
        with torch.inference_mode():
            assert float(model(**inputs).logits[0, 0]) == pytest.approx(float(mine), abs=1e-5)
    assert (run / "model" / "adapter" / "adapter_model.safetensors").exists() == (tuning == "lora")


def test_a_merged_adapter_is_what_peft_makes_of_it(decoder: dict[str, Any], make_run: Any, train: Any) -> None:
    from peft import PeftModel

    run = make_run(tuning="lora", lora_rank=4, lora_alpha=8, **decoder)
    assert train(run)[0] == 0
    base = AutoModel.from_pretrained(decoder["backbone"])
    base.resize_token_embeddings(base.config.vocab_size + 1, mean_resizing=False)
    theirs = PeftModel.from_pretrained(base, str(run / "model" / "adapter")).eval()
    ours = AutoModel.from_pretrained(run / "model").eval()
    ids = torch.tensor([[3, 9, 4, 12, 7, 1]])
    with torch.inference_mode():
        expected = theirs(input_ids=ids).last_hidden_state
        torch.testing.assert_close(ours(input_ids=ids).last_hidden_state, expected, atol=1e-5, rtol=1e-5)
    untouched = AutoModel.from_pretrained(decoder["backbone"]).eval()
    assert not torch.allclose(untouched(input_ids=ids).last_hidden_state, expected, atol=1e-2)


def test_a_trained_mean_pooled_encoder_loads_in_sentence_transformers(
    make_run: Any, train: Any, cache: FeatureCache
) -> None:
    from sentence_transformers import SentenceTransformer

    run = make_run(tuning="full", **QUICK)
    code, events = train(run)
    assert code == 0, events[-1]
    theirs = SentenceTransformer(str(run / "model")).encode([list(pair) for pair in PAIRS])
    np.testing.assert_allclose(Scorer.load(run / "model").score(PAIRS, cache), theirs[:, 0], atol=1e-5)


def test_how_rows_are_filled_and_kept_changes_nothing_beyond_rounding(
    decoder: dict[str, Any], make_run: Any, train: Any
) -> None:
    runs = [make_run("whole", tuning="full", **decoder), make_run("rows", tuning="full", batch_tokens=20, **decoder),
            make_run("again", tuning="full", gradient_checkpointing=True, **decoder)]  # fmt: skip
    assert [train(run)[0] for run in runs] == [0, 0, 0]
    expected = weights(runs[0])
    for run in runs[1:]:
        for name, value in weights(run).items():
            if name.startswith("uncertainty"):  # a root of an inverse: what is rounding elsewhere is more here
                continue
            np.testing.assert_allclose(value, expected[name], atol=2e-5, err_msg=name)


def test_a_regression_comes_first_and_the_second_stage_starts_from_its_weights(
    decoder: dict[str, Any], make_run: Any, train: Any
) -> None:
    rated = [{"helpfulness": 4, "verbosity": 1}, {"helpfulness": 1, "verbosity": 1}]
    rows = [pair_row(n, ratings=rated if n % 2 == 0 else rated[::-1]) for n in range(20)]
    run = make_run(train=rows, tuning="full", initialisation="regression", first_epochs=6, **decoder)
    code, events = train(run)
    assert code == 0, events[-1]
    stages = [[step["loss"] for step in kinds(events, "step") if step["stage"] == stage] for stage in (1, 2)]
    assert stages[0][-1] < stages[0][0]
    assert stages[1][0] < 0.6  # from scratch the first loss is 2 log 2 times the strength, or more
    first = json.loads((run / "first-stage" / "tiebreak.json").read_text())
    assert first["outputs"] == ["helpfulness"]
    assert train(run, "--resume")[0] == 0


@pytest.mark.parametrize("tuning", ["full", "lora"])
def test_a_version_is_a_start_and_a_factor_of_zero_stays_there(
    tuning: str, decoder: dict[str, Any], make_run: Any, train: Any, cache: FeatureCache
) -> None:
    first = make_run("first", tuning="full", **decoder)
    assert train(first)[0] == 0
    settings = {"initial_model": str(first / "model")}
    more = decoder | {"tuning": tuning, "initialisation": "7"}
    stays = make_run("stays", extrapolation=0, settings=settings, **more)
    code, events = train(stays)
    assert code == 0, events[-1]
    assert kinds(events, "step")[0]["loss"] < 0.7 * 1.4  # not that of a head near zero
    scores = [Scorer.load(run / "model").score(PAIRS, cache) for run in (first, stays)]
    np.testing.assert_allclose(scores[1], scores[0], atol=1e-5)
    other = make_run("other", settings=settings, **(more | {"pooling": "mean"}))
    assert "pooling: the version to start from has 'last'" in train(other)[1][-1]["message"]


def test_over_long_pairs_are_counted_and_dropped_when_the_recipe_says_so(
    decoder: dict[str, Any], make_run: Any, train: Any
) -> None:
    rows = [pair_row(n, better="good " * (60 if n < 3 else 2)) for n in range(12)]
    cut, dropped = (
        make_run(rule, train=rows, tuning="full", overlong=rule, **decoder) for rule in ("truncate", "drop")
    )
    for run, pairs in ((cut, 12), (dropped, 9)):
        code, events = train(run)
        assert code == 0, events[-1]
        said = kinds(events, "overlong")[0]
        assert (said["rule"], said["train"], said["validation"]) == (run.name, 3, 0)
        assert events[-1]["metrics"]["overlong"]["train"] == 3
        assert kinds(events, "step")[-1]["total"] == 4 * -(-pairs // 8)


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"learning_rate": 10, "weight_decay": 1e6}, "not finite; lower the learning rate"),
        ({"max_tokens": 8, "overlong": "drop"}, "overlong: every pair has a side of more than 8 tokens"),
        ({"settings": {"checkpoint_seconds": -1}}, "checkpoint_seconds must be at least 0"),
    ],
)
def test_what_cannot_be_trained_is_an_error_with_a_sentence(
    changes: dict[str, Any], sentence: str, decoder: dict[str, Any], make_run: Any, train: Any
) -> None:
    run = make_run(**({"tuning": "full"} | decoder | changes))
    code, events = train(run)
    assert code == 1
    assert sentence in events[-1]["message"]
    assert not (run / "model").exists()


def test_a_run_without_enough_memory_ends_with_a_sentence(
    decoder: dict[str, Any], make_run: Any, train: Any, tmp_path: Path
) -> None:
    endless = pair_row(1, better="moon " * 400_000)  # which token sees which takes 160 GB
    far = Path(shutil.copytree(decoder["backbone"], tmp_path / "far"))
    config = json.loads((far / "config.json").read_text())
    (far / "config.json").write_text(json.dumps(config | {"max_position_embeddings": 1_000_000}))
    recipe = decoder | {"tuning": "full", "backbone": str(far), "max_tokens": 1_000_000}
    code, events = train(make_run(train=[endless], **recipe))
    assert code == 1
    assert "There is not enough memory." in events[-1]["message"]


def test_half_precision_is_used_where_the_hardware_has_it_and_refused_elsewhere(
    decoder: dict[str, Any], make_run: Any, train: Any
) -> None:
    code, events = train(make_run(tuning="full", precision="bfloat16", **decoder))
    if torch.cpu._is_avx512_bf16_supported():
        assert code == 0, events[-1]
        steps = kinds(events, "step")
        assert steps[-1]["loss"] < 0.7 * steps[0]["loss"]
    else:
        assert "precision: this machine has no bfloat16 arithmetic" in events[-1]["message"]


def starting(run: Path, *launcher: str) -> subprocess.Popen[str]:
    """Start the command, under torchrun where its arguments are given."""
    launched = ["torch.distributed.run", *launcher, "-m", "--"] if launcher else []
    command = [sys.executable, "-m", *launched, "worker.train", "--run", str(run), "--resume"]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONWARNINGS": ""}
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, env=environment)


def two_machines() -> list[str]:
    """Return torchrun's arguments for one process on each of two machines, which are both this one."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    return ["--nnodes=2", "--nproc-per-node=1", "--rdzv-backend=c10d", f"--rdzv-endpoint=127.0.0.1:{port}"]


@pytest.mark.parametrize(
    ("tuning", "signals"), [("full", [signal.SIGKILL, signal.SIGTERM]), ("lora", [signal.SIGKILL])]
)
def test_a_run_stopped_at_any_step_and_resumed_ends_like_one_left_alone(
    tuning: str, signals: list[signal.Signals], decoder: dict[str, Any], make_run: Any, train: Any
) -> None:
    recipe = decoder | {"tuning": tuning, "epochs": 20}  # 60 steps
    often = {"settings": {"checkpoint_seconds": 0}}
    undisturbed, disturbed = make_run("undisturbed", **recipe, **often), make_run("disturbed", **recipe, **often)
    assert train(undisturbed)[0] == 0
    reached = 0
    for number in signals:
        wanted = reached + int(np.random.default_rng().integers(1, 15))
        with starting(disturbed) as process:
            read_until(process, lambda event, at=wanted: event["event"] == "checkpoint" and event["step"] >= at)  # type: ignore[misc]
            process.send_signal(number)
            assert process.wait(timeout=60) == (143 if number == signal.SIGTERM else -signal.SIGKILL)
        assert not (disturbed / "model").exists()
        with safe_open(disturbed / "checkpoint.safetensors", framework="numpy") as checkpoint:
            reached = int(checkpoint.metadata()["step"])
        assert wanted <= reached < 60
    code, events = train(disturbed, "--resume")
    assert code == 0
    assert kinds(events, "step")[0]["step"] == reached + 1
    expected, found = weights(undisturbed), weights(disturbed)
    assert expected.keys() == found.keys()
    for name, value in expected.items():
        np.testing.assert_array_equal(found[name], value, err_msg=name)


@pytest.mark.parametrize("machines", [1, 2])
def test_two_processes_end_like_one(machines: int, decoder: dict[str, Any], make_run: Any, train: Any) -> None:
    recipe = decoder | {"tuning": "full", "batch_tokens": 30}  # some rows a step, and not always an even number
    alone, together = make_run("alone", **recipe), make_run("together", **recipe, settings={"checkpoint_seconds": 0})
    assert train(alone)[0] == 0
    launcher = ["--standalone", "--nproc-per-node=2"] if machines == 1 else two_machines()
    processes = [starting(together, *launcher) for _ in range(machines)]
    outputs = [process.communicate(timeout=180)[0] for process in processes]
    events = [json.loads(line) for output in outputs for line in output.splitlines()]
    assert [process.returncode for process in processes] == [0] * machines, events
    assert [step["step"] for step in kinds(events, "step")] == list(range(1, 13))  # one process of all reports
    assert kinds(events, "evaluation")[-1]["n"] == 2
    expected, found = weights(alone), weights(together)
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, atol=1e-4, err_msg=name)


def test_a_full_disk_ends_the_run_with_a_sentence_and_keeps_the_last_checkpoint(
    decoder: dict[str, Any], make_run: Any, train: Any
) -> None:
    run = make_run(**decoder, tuning="full", settings={"checkpoint_seconds": 0})
    assert train(run)[0] == 0
    kept = (run / "checkpoint.safetensors").read_bytes()
    # No file may grow above the limit; the kernel then answers as it does when a disk or a quota is full.
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(kept) // 2, limits[1]))
    try:
        code, events = train(run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, handler)
    assert code == 1
    assert "The checkpoint of step 1 could not be written" in events[-1]["message"]
    assert "is there room on the disk?" in events[-1]["message"]
    assert (run / "checkpoint.safetensors").read_bytes() == kept
    assert [entry.name for entry in run.iterdir() if entry.name.startswith(".")] == []


def test_checkpoints_take_a_twentieth_of_the_time_at_most() -> None:
    saving = Saving(Path("x"), "", resume=False, every_seconds=60.0)
    assert (saving.pause(0.1), saving.pause(30.0)) == (60.0, 600.0)
    assert Saving(Path("x"), "", resume=False, every_seconds=0).pause(30.0) == 0.0  # after every step, as tests want it
