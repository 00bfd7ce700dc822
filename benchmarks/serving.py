"""Rewards over HTTP: through the web process and at the reward server itself, for 1, 8 and 64 callers at once.

Run with `make bench`, or `python -m benchmarks.serving`. The model is a head on the embedded backbone; a text is a
prompt and a response of about 600 characters. The measure is against ourselves, in one run: the same server with
batches and with a budget that lets nothing share one. Clients are threads of a process of their own on this machine.
"""

import argparse
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.clients import Call, measure_rounds, middle_round, work
from benchmarks.database import machine, own_database
from worker.processes import die_with_parent

SECONDS, REPEATS = 3, 1
CALLERS = (1, 8, 64)
BESIDE = 8
"""Callers that batches are measured with against a server that has none."""
ALONE = f"server, new texts one by one, {BESIDE} at once"
PROMPT = "Why does the sea rise and fall twice a day, and who found out? " * 3
RESPONSE = "The moon pulls on the water, and the sun adds to it or takes from it. " * 6


def measure(folder: Path, *, seconds: float, repeats: int) -> list[tuple[str, dict[str, Any]]]:
    """Make a model, start both servers and web, and return what the clients saw by what was measured."""
    from apps.accounts.services import create_token
    from apps.reward_models.reward_server import server_token
    from config.demo import Runner

    model, researcher = _model(folder)
    key = create_token(user=researcher, name="bench", scope="read")[1]
    version = {"folder": model.folder, "files": model.files}
    batched, alone = int(os.environ["REWARD_SERVER_URL"].rpartition(":")[2]), _free_port()
    (folder / "log").mkdir(exist_ok=True)
    runner = Runner(folder, _free_port())
    known: dict[str, Any] = {"model": version, "keys": [server_token()], "port": batched, "known": True}
    web = {"path": f"/api/v1/reward-models/{model.pk}/score/", "keys": [key], "port": runner.port, "known": True}
    new, unbatched = {**known, "known": False}, {**known, "known": False, "port": alone}
    cases = [(f"web, known texts, {times} at once", {**web, "times": times}) for times in CALLERS]
    cases += [(f"server, known texts, {times} at once", {**known, "times": times}) for times in CALLERS]
    cases += [(f"server, new texts, {times} at once", {**new, "times": times}) for times in CALLERS]
    cases.append(("server, 64 known texts a request, 1 at once", {**known, "items": 64}))
    with _server(folder, batched):
        runner.web.start()
        try:
            _wait(f"http://127.0.0.1:{runner.port}/livez")
            measured = [_measured(name, order, seconds, repeats) for name, order in cases]
        finally:
            runner.web.kill_group()
    with _server(folder, alone, "--batch-tokens", "0"):
        measured.append(_measured(ALONE, {**unbatched, "times": BESIDE}, seconds, repeats))
    return measured


def _measured(name: str, order: dict[str, Any], seconds: float, repeats: int) -> tuple[str, dict[str, Any]]:
    keys = order["keys"] * order.get("times", 1)
    rounds = measure_rounds("benchmarks.serving", {**order, "keys": keys}, seconds=seconds, repeats=repeats)
    print(f"{name}: {middle_round(rounds)['cycles']:.0f}/s", file=sys.stderr)
    return name, {**middle_round(rounds), "items": order.get("items", 1)}


def report(measured: list[tuple[str, dict[str, Any]]]) -> str:
    """Return the figures as a Markdown table, and the ratio of batches to one by one."""
    lines = ["| asked | requests/s | texts/s | median | 95th percentile |", "|---|---|---|---|---|"]
    for name, each in measured:
        middle, high = each["score"]
        texts = each["cycles"] * each["items"]
        lines.append(f"| {name} | {each['cycles']:.0f} | {texts:.0f} | {middle:.1f} ms | {high:.1f} ms |")
    rate = {name: each["cycles"] for name, each in measured}
    ratio = rate[f"server, new texts, {BESIDE} at once"] / rate[ALONE]
    return "\n".join([*lines, f"\nBatches of new texts against one by one, {BESIDE} callers: {ratio:.2f} ×"])


def _model(folder: Path) -> tuple[Any, Any]:
    """Register a version with a head drawn at random on the embedded backbone; return it and a researcher."""
    import numpy as np

    from apps.accounts.models import User
    from apps.core.artifacts import store_folder
    from apps.exports.services import create_snapshot
    from apps.projects.models import Membership
    from apps.projects.services import create_project
    from apps.reward_models.models import RewardModel
    from apps.signals.models import Scorer
    from worker.core.backbone import open_backbone
    from worker.core.training.head import Head
    from worker.core.training.recipe import Recipe
    from worker.core.training.save import save_model

    recipe = Recipe()
    weight = np.random.default_rng(0).normal(size=(1, 384)).astype(np.float32)
    head = Head(("reward",), weight, np.zeros(1, dtype=np.float32))
    save_model(folder / "model", recipe, open_backbone(recipe), head, "bench", {})
    project = create_project(name="Rewards", slug="rewards", created_by=None, guideline="Read both.")
    researcher = User.objects.create(username="researcher")
    Membership.objects.create(project=project, user=researcher, role=Membership.Role.RESEARCHER)
    scorer = Scorer.objects.create(project=project, name="Reward model 1", kind="reward_model")
    model = RewardModel.objects.create(
        project=project,
        version=1,
        state="current",
        recipe=recipe.to_dict(),
        recipe_hash=recipe.hash,
        snapshot=create_snapshot(project=project, body={"name": "Bench"}, created_by=None),
        scorer=scorer,
        folder="reward-models/bench",
        files=store_folder(folder / "model", "reward-models/bench"),
    )
    return model, researcher


@contextmanager
def _server(folder: Path, port: int, *options: str) -> Iterator[None]:
    command = [sys.executable, "-m", "worker.serve", "--listen", f"127.0.0.1:{port}", *options]
    with (folder / "log" / f"rewards-{port}.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, preexec_fn=die_with_parent)
    try:
        _wait(f"http://127.0.0.1:{port}/health")
        yield
    finally:
        process.terminate()
        process.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _wait(address: str) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    for _ in range(600):
        try:
            direct.open(address, timeout=5).close()
        except OSError:
            time.sleep(0.1)
        else:
            return
    raise RuntimeError(f"{address} did not answer.")


# --- The clients: a process that loads neither Django nor anything else ---


def _cycle(call: Call, order: dict[str, Any]) -> None:
    texts = [
        f"{number} {RESPONSE}" if order.get("known") else f"{uuid.uuid4()} {RESPONSE}"
        for number in range(order.get("items", 1))
    ]
    if "path" in order:
        messages = [{"role": "user", "content": PROMPT}]
        body: dict[str, Any] = {"items": [{"messages": messages, "response": text} for text in texts]}
    else:
        body = {"model": order["model"], "inputs": [{"prompt": PROMPT, "response": text} for text in texts]}
    call("POST", order.get("path", "/score"), json.dumps(body), 200, "score")


def main() -> int:
    """Measure on a database of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        work(_cycle, ("score",))
        return 0
    os.environ.update(REWARD_SERVER_URL=f"http://127.0.0.1:{_free_port()}", API_RATE_LIMIT="0")
    with own_database() as folder:
        measured = measure(folder, seconds=options.seconds, repeats=options.repeats)
        load = os.getloadavg()[0]
        print(f"## Rewards over HTTP\n\n{machine()}; load {load:.1f}\n\n{report(measured)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
