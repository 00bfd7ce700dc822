"""Snapshots: from the database to files, and from there through the web server, with what both processes need.

Run with `make bench`, or `python -m benchmarks.exports [--pairs N] [--memory]`. Every pair has three labels and two
responses of about 1,500 characters. With `--memory` one snapshot is built and downloaded and nothing else: what a
million pairs need. Building runs in a process of its own, as a worker does it; the client is one more on the same
machine.
"""

import argparse
import http.client
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.database import machine, own_database, seed_project, seed_work
from benchmarks.label_studio import last_measured

PAIRS, PEOPLE = 100_000, 30
AIM, WEB_MB = 25_000, 200
ONE_FORMAT = {"formats": ["trl-preference"], "encodings": ["jsonl"]}


def measure(folder: Path, *, pairs: int, all_of_it: bool = True) -> dict[str, Any]:
    """Seed, build snapshots in another process, download one of them and compare two; or only build and download."""
    from apps.accounts.services import create_token
    from apps.exports.models import Snapshot
    from apps.projects.models import Membership
    from config.demo import Runner
    from tests.e2e.running import free_port, wait_until

    project, people = seed_project(slug="exports", pairs=pairs, people=PEOPLE)
    seed_work(project=project, people=people, complete=pairs, begun=0)
    figures: dict[str, Any] = {"pairs": pairs, "one": _build(ONE_FORMAT)}
    if all_of_it:
        figures["same"] = _build(ONE_FORMAT)
        figures["annotations"] = _build({"formats": ["annotations"], "encodings": ["jsonl"]})
        small = {"filters": {"strength": {"min": 1, "max": 1}}}
        figures["all"] = _build(small)
        if figures["one"]["content"] != figures["same"]["content"]:
            raise RuntimeError("The same selection gave other bytes.")
    reader = people[0]
    Membership.objects.filter(project=project, user=reader).update(role=Membership.Role.RESEARCHER)
    key = create_token(user=reader, name="bench", scope="read")[1]
    (folder / "log").mkdir()
    runner = Runner(folder, free_port())
    runner.web.start()
    try:
        wait_until(lambda: _get(runner.port, "/livez", key)[0] == 200, 30, "the server answers")
        one = Snapshot.objects.get(pk=figures["one"]["snapshot"])
        address = f"/api/v1/snapshots/{one.pk}/"
        started = time.perf_counter()
        status, size = _get(runner.port, f"{address}files/trl-preference/train.jsonl", key)
        figures["download"] = {"seconds": time.perf_counter() - started, "bytes": size, "status": status}
        figures["download"]["rows"] = one.manifest["files"]["trl-preference/train.jsonl"]["rows"]
        if size != one.manifest["files"]["trl-preference/train.jsonl"]["bytes"]:
            raise RuntimeError(f"The download has {size} bytes.")
        if all_of_it:
            started = time.perf_counter()
            _get(runner.port, f"{address}diff/{figures['all']['snapshot']}/", key)
            figures["diff"] = time.perf_counter() - started
        figures["web_mb"] = max(_peak_mb(pid) for pid in _family(runner.web.process.pid))
    finally:
        runner.web.kill_group()
    return figures


def report(figures: dict[str, Any]) -> str:
    """Return the figures as a Markdown table."""
    pairs, one, download = figures["pairs"], figures["one"], figures["download"]
    rows = [
        ("`trl-preference` as JSON lines, from the database", f"**{pairs / one['seconds']:,.0f} rows/s**"),
        ("the same once more", f"{pairs / figures['same']['seconds']:,.0f} rows/s"),
        ("`annotations` as JSON lines", f"{pairs / figures['annotations']['seconds']:,.0f} rows/s"),
        (
            f"every format as JSON lines, Parquet and CSV, {figures['all']['files']} files",
            f"{figures['all']['comparisons'] / figures['all']['seconds']:,.0f} comparisons/s",
        ),
        ("memory of the building process, most", f"{one['mb']:.0f} MB one format, {figures['all']['mb']:.0f} MB all"),
        (
            "download through the web server",
            f"**{download['rows'] / download['seconds']:,.0f} rows/s**, "
            f"{download['bytes'] / download['seconds'] / 1e6:,.0f} MB/s",
        ),
        ("diff of two snapshots over REST", f"{pairs / figures['diff']:,.0f} comparisons/s"),
        ("memory of a web process, most", f"{figures['web_mb']:.0f} MB"),
        ("peer", last_measured("export")),
    ]
    return "\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)])


def report_memory(figures: dict[str, Any]) -> str:
    """Return in a sentence what the processes needed."""
    download = figures["download"]
    return (
        f"{figures['pairs']:,} comparisons: {figures['one']['mb']:.0f} MB of the building process and "
        f"{figures['web_mb']:.0f} MB of a web process at most; {download['rows']:,} rows, {download['bytes']:,} bytes."
    )


def _build(body: dict[str, Any]) -> dict[str, Any]:
    command = [sys.executable, "-m", "benchmarks.exports", "--build"]
    done = subprocess.run(command, input=json.dumps(body), capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(done.stderr)
    return dict(json.loads(done.stdout))


def _build_here() -> None:
    import django

    django.setup()
    from apps.exports.services import create_snapshot, write_snapshot
    from apps.projects.models import Project

    body = {"name": "bench", "splits": {"train": 1.0}, **json.load(sys.stdin)}
    snapshot = create_snapshot(project=Project.objects.get(slug="exports"), body=body, created_by=None)
    started = time.perf_counter()
    write_snapshot(snapshot=snapshot)
    figures = {
        "seconds": time.perf_counter() - started,
        "mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
        "snapshot": snapshot.pk,
        "content": snapshot.content_hash,
        "files": len(snapshot.manifest["files"]),
        "comparisons": snapshot.manifest["comparisons"]["train"],
    }
    print(json.dumps(figures))


def _get(port: int, path: str, key: str) -> tuple[int, int]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=120)
    try:
        connection.request("GET", path, headers={"Authorization": f"Token {key}"})
        reply, size = connection.getresponse(), 0
        while block := reply.read(1 << 20):
            size += len(block)
        return reply.status, size
    except OSError:
        return 0, 0
    finally:
        connection.close()


def _family(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [pid, *(grand for child in children for grand in _family(int(child)))]


def _peak_mb(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.split("VmHWM:")[1].split()[0]) / 1024


def main() -> int:
    """Measure on a database of its own, print the table, and fail when it is much slower than it should be."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--memory", action="store_true", help="build one snapshot, download it, and say what memory")
    parser.add_argument("--build", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.build:
        _build_here()
        return 0
    with own_database() as folder:
        figures = measure(folder, pairs=options.pairs, all_of_it=not options.memory)
        print(f"## Snapshots\n\n{machine()}; {options.pairs:,} comparisons with three labels each\n")
        print(report_memory(figures) if options.memory else report(figures))
    if options.memory:
        return 0 if figures["web_mb"] < WEB_MB else 1
    rate = max(options.pairs / figures[name]["seconds"] for name in ("one", "same"))
    print(f"\nAim {AIM:,} rows/s and {WEB_MB} MB: {'reached' if rate >= AIM else 'not reached'}")
    return 0 if rate >= AIM / 2 and figures["web_mb"] < WEB_MB else 1


if __name__ == "__main__":
    sys.exit(main())
