"""Imports and exports in turns with Label Studio: the same pairs in one run, one after the other, round after round.

Run with `make bench-peer`, or `python -m benchmarks.peer_data [--tasks N] [--rounds R]`. A round: Label Studio imports
N pairs by REST, 1,000 a request; Tiebreak takes a file of the same pairs in and runs its job; then each exports N pairs
that have one annotation each. Label Studio runs under gunicorn (2 × 4) and answers when it is done. Tiebreak's jobs run
in a process of their own, as its worker does them; starting that process is not counted, handing the file in is.
"""

import argparse
import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.database import machine, own_database
from benchmarks.imports import run_in_process
from benchmarks.label_studio import (
    ATTRIBUTES,
    JUSTIFICATION,
    VERSION,
    Peer,
    _import,
    _running,
    _task,
    install,
    own_peer,
)

TASKS, ROUNDS = 10_000, 3
EXPORTS = ("annotations", "trl-preference")
Figures = dict[str, list[float]]
"""Name → what was measured in each round: pairs per second."""


def measure(folder: Path, *, tasks: int, rounds: int) -> tuple[Figures, Figures]:
    """Return the pairs per second of the peer and of ours, for each kind of work."""
    peers: Figures = {"import": [], "JSON": [], "CSV": []}
    ours: Figures = {"import": [], **{name: [] for name in EXPORTS}}
    with own_peer() as peer, _running(peer, "gunicorn") as (port, _):
        labeled, _ = _import(peer, port, tasks, labelled=True)
        take_in(folder, "labeled", tasks, labelled=True)
        for number in range(rounds):
            peers["import"].append(tasks / _import(peer, port, tasks, labelled=False)[1])
            ours["import"].append(tasks / take_in(folder, f"round-{number}", tasks, labelled=False))
            for kind in ("JSON", "CSV"):
                peers[kind].append(tasks / export_of_peer(peer, port, labeled, kind))
            for name in EXPORTS:
                ours[name].append(tasks / export_of_ours(name, tasks))
    return peers, ours


def take_in(folder: Path, slug: str, tasks: int, *, labelled: bool) -> float:
    """Import so many pairs into a new project of ours and return the seconds."""
    from apps.imports.services import start_import
    from apps.projects.services import create_project

    protocol = {"annotators": 1, "max_annotators": 1}
    project = create_project(name=slug, slug=slug, created_by=None, guideline="Read both.", protocol=protocol)
    path = folder / "pairs.jsonl"
    with path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(tasks, labelled=labelled))
    before = time.perf_counter()
    with path.open("rb") as stream:
        made = start_import(project=project, file_name=path.name, stream=stream, created_by=None)
    handed_in = time.perf_counter() - before
    return handed_in + run_in_process(made, tasks)[0]


def rows(tasks: int, *, labelled: bool) -> Iterator[dict[str, Any]]:
    """Yield the pairs that the peer gets, in our words."""
    ratings = dict.fromkeys(ATTRIBUTES, 3)
    label = {"annotator": "person", "preference": -2, "ratings": [ratings, ratings], "active_seconds": 60}
    for number in range(tasks):
        data = _task(number, labelled=False)["data"]
        row = {name: data[name] for name in ("external_id", "prompt")}
        row["responses"] = [data["response_1"], data["response_2"]]
        yield {**row, "annotations": [{**label, "justification": JUSTIFICATION}]} if labelled else row


def export_of_peer(peer: Peer, port: int, project: int, kind: str) -> float:
    """Export the peer's labelled pairs and return the seconds until the last byte is here."""
    before = time.perf_counter()
    peer.ask(port, "GET", f"/api/projects/{project}/export?exportType={kind}&download_all_tasks=true")
    return time.perf_counter() - before


def export_of_ours(name: str, tasks: int) -> float:
    """Build a snapshot of our labelled pairs in another process and return the seconds until its file is stored."""
    command = [sys.executable, "-m", "benchmarks.peer_data", "--build", name]
    seconds, found = json.loads(subprocess.run(command, check=True, capture_output=True).stdout.splitlines()[-1])
    if found != tasks:
        raise RuntimeError(f"{name}: {tasks} rows wanted, {found} exported")
    return float(seconds)


def build(name: str) -> None:
    """Build a snapshot in this process; print its seconds and rows."""
    import django

    django.setup()
    from apps.exports.services import create_snapshot, write_snapshot
    from apps.projects.models import Project

    body = {"name": "bench", "splits": {"train": 1.0}, "formats": [name], "encodings": ["jsonl"]}
    snapshot = create_snapshot(project=Project.objects.get(slug="labeled"), body=body, created_by=None)
    before = time.perf_counter()
    write_snapshot(snapshot=snapshot)
    seconds = time.perf_counter() - before
    print(json.dumps([seconds, snapshot.manifest["files"][f"{name}/train.jsonl"]["rows"]]))


def report(peers: Figures, ours: Figures) -> str:
    """Return both side by side as Markdown: medians, with every round behind them."""
    lines = [f"| pairs per second | Tiebreak | Label Studio {VERSION} | ours against it |", "|---|---:|---:|---:|"]
    for mine, its in (("import", "import"), ("annotations", "JSON"), ("trl-preference", "CSV")):
        name = mine if mine == its else f"export: `{mine}` as JSON lines, its {its}"
        ratio = statistics.median(ours[mine]) / statistics.median(peers[its])
        lines.append(f"| {name} | {_shown(ours[mine])} | {_shown(peers[its])} | **{ratio:.1f} ×** |")
    return "\n".join(lines)


def _shown(rounds: list[float]) -> str:
    return f"{statistics.median(rounds):,.0f} ({', '.join(f'{each:,.0f}' for each in rounds)})"


def main() -> int:
    """Measure both in turns and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=TASKS)
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--build", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        build(options.build)
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything started is stopped
    install()
    with own_database() as folder:
        load = os.getloadavg()[0]
        peers, ours = measure(folder, tasks=options.tasks, rounds=options.rounds)
        print(
            f"## Data in and out beside Label Studio\n\n{machine()}; {options.tasks:,} pairs, load average {load:.1f}\n"
        )
    print(report(peers, ours))
    return 0


if __name__ == "__main__":
    sys.exit(main())
