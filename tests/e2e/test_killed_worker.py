"""SIGKILL of the gpu worker in the middle of training and of scoring: the job ends with each result once."""

import os
import random
import signal

import pytest

from tests.e2e.rest import Rest
from tests.e2e.running import wait_until

WORDS = ["tide", "moon", "water", "pull", "ocean", "shore", "gravity", "earth", "wave", "coast", "spring", "neap"]
SLUG = "killed"


def rows(count, labeled):
    """Return pairs of long texts that nobody has scored yet; where labeled, the first is always better."""
    dice = random.Random(count)

    def text(length):
        return " ".join(dice.choices(WORDS, k=length)) + f" {dice.random()}"

    for number in range(count):
        row = {
            "external_id": f"{count}-{number}",
            "messages": [{"role": "user", "content": f"Write about tides, take {number}."}],
            "responses": [{"text": text(120)}, {"text": text(120)}],
        }
        if labeled:
            row["annotations"] = [{"annotator": f"a{n}", "preference": -2} for n in range(3)]
        yield row


@pytest.fixture(scope="module")
def rest(tiebreak):
    rest = Rest(tiebreak.base_url, tiebreak.token("manager", "admin"))
    rest.post("projects/", {"name": "Killed", "slug": SLUG})
    imported = rest.post(f"projects/{SLUG}/imports/", {"items": list(rows(60, labeled=True))})
    rest.finished(imported["job"])
    return rest


def kill_gpu_worker_when(tiebreak, rest, job, condition):
    """Wait until the running job meets the condition, then kill the gpu worker without warning."""
    wait_until(lambda: condition(rest.get(f"jobs/{job['id']}/")), 90, "the job is in the middle of its work")
    victim = tiebreak.pid("gpu")
    os.kill(victim, signal.SIGKILL)
    wait_until(lambda: tiebreak.pid("gpu") != victim, 30, "the worker is gone")


@pytest.mark.timeout(420)  # with the start of Tiebreak
def test_training_and_scoring_survive_a_killed_worker(tiebreak, rest):
    run = rest.post(f"projects/{SLUG}/training-runs/", {"recipe": {"batch_tokens": 512}})
    kill_gpu_worker_when(
        tiebreak,
        rest,
        run["job"],
        lambda job: job["state"] == "running" and 0 < job["progress"]["done"] < job["progress"]["total"],
    )
    rest.finished(run["job"])
    (model,) = rest.all(f"projects/{SLUG}/reward-models/")
    assert model["version"] == 1
    rest.idle(SLUG)
    assert_each_response_scored_once(rest, 120)

    imported = rest.post(f"projects/{SLUG}/imports/", {"items": list(rows(80, labeled=False))})
    rest.finished(imported["job"])

    def running_scoring():
        jobs = rest.all(f"projects/{SLUG}/jobs/")
        return next((job for job in jobs if job["kind"] == "scoring" and job["state"] == "running"), None)

    scoring = wait_until(running_scoring, 60, "the new responses are being scored")
    kill_gpu_worker_when(tiebreak, rest, scoring, lambda job: 120 < job["progress"]["done"] < job["progress"]["total"])
    rest.finished(scoring)
    assert_each_response_scored_once(rest, 280)


def assert_each_response_scored_once(rest, count):
    signals = rest.all(f"projects/{SLUG}/signals/")
    assert len(signals) == count
    assert len({(row["scorer"], row["response"]) for row in signals}) == count
