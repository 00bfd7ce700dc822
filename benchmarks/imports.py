"""How fast pairs come in: `python -m benchmarks.imports [--pairs N] [--labeled N]`, through a real worker process.

Each case is one process that runs the job as a worker does, with its own peak of memory. The peer's figure is that of
the last `make bench-peer`. For the promise of a million pairs: `--pairs 1000000 --lines-only`, which takes some minutes
and 15 GB of disk.
"""

import argparse
import gzip
import json
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from benchmarks.database import machine, own_database
from benchmarks.label_studio import last_measured

WORDS = [
    "tide",
    "moon",
    "water",
    "pull",
    "ocean",
    "shore",
    "gravity",
    "earth",
    "wave",
    "coast",
    "spring",
    "neap",
    "height",
    "hour",
    "harbour",
    "sun",
    "shape",
    "high",
]
CHARACTERS = 1500


def main() -> None:
    """Write files, import each in a process of its own, print a table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", type=int, default=100_000)
    parser.add_argument("--labeled", type=int, default=5_000)
    parser.add_argument("--lines-only", action="store_true", help="import nothing but the JSON lines")
    parser.add_argument("--child", type=int, metavar="IMPORT", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        run_job(arguments.child)
        return
    with own_database() as folder:
        print(f"Measured on {machine()}.\n")
        print("| source | pairs | pairs/s | peak memory of the worker, MB |")
        print("|---|---:|---:|---:|")
        pairs, few = arguments.pairs, min(20_000, arguments.pairs)
        measure("JSON lines", folder, pairs, write_lines)
        if arguments.lines_only:
            return
        measure("the same file again", folder, pairs, write_lines, again=True)
        measure("JSON lines, gzip", folder, few, write_gzip)
        measure("JSON array", folder, few, write_array)
        measure("CSV", folder, few, write_csv)
        measure("Parquet", folder, few, write_parquet)
        measure("JSON lines, dry run", folder, few, write_lines, dry_run=True)
        measure("JSON lines, near duplicates looked for", folder, few, write_lines, near_duplicates=True)
        measure("JSON lines, five labels each", folder, arguments.labeled, write_labeled)
        print(f"\nPeer: {last_measured('import')}.")


def measure(name: str, folder: Path, count: int, write: Any, *, again: bool = False, **options: bool) -> None:
    """Import one file in a process of its own and print a line."""
    from apps.imports.options import Options
    from apps.imports.services import start_import
    from apps.projects.models import Project
    from apps.projects.services import create_project

    slug = "again" if again else name.lower().replace(" ", "-").replace(",", "")
    if again:
        project = Project.objects.get(slug="json-lines")
    else:
        project = create_project(name=name, slug=slug, created_by=None, guideline="Read both responses.")
    path = folder / "pairs"
    write(path, count)
    with path.open("rb") as stream:
        made = start_import(
            project=project, file_name=path.name, stream=stream, created_by=None, options=Options(**options)
        )
    path.unlink()
    seconds, memory = run_in_process(made, count)
    assert options.get("dry_run") or project.comparisons.count() == project.queue_items.count() == count
    print(f"| {name} | {count:,} | {count / seconds:,.0f} | {memory:,.0f} |", flush=True)


def run_in_process(made: Any, count: int) -> tuple[float, float]:
    """Run an import's job in a process of its own and return its seconds and its peak memory in MB."""
    command = [sys.executable, "-m", "benchmarks.imports", "--child", str(made.pk)]
    seconds, memory = json.loads(subprocess.run(command, check=True, capture_output=True).stdout.splitlines()[-1])
    made = type(made).objects.select_related("job").get(pk=made.pk)
    assert made.job.state == "succeeded", made.job.error
    assert sum(made.counts[kind] for kind in ("created", "unchanged")) == count, made.counts
    return seconds, memory


def run_job(import_id: int) -> None:
    """Run one import's job in this process and print its seconds and its peak memory in MB."""
    import django

    django.setup()
    from apps.imports.models import Import
    from worker.tasks.datasets import import_pairs

    job_id = Import.objects.get(pk=import_id).job_id
    began = time.perf_counter()
    import_pairs(job_id)
    seconds = time.perf_counter() - began
    print(json.dumps([seconds, peak_memory()]))


def peak_memory() -> float:
    """Return the most memory this process had resident, in MB; `getrusage` would count its parent's as well."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024


def rows(count: int, labels: int = 0) -> Iterator[dict[str, Any]]:
    """Yield pairs of two different texts of about 1,500 characters."""
    dice = random.Random(count + labels)
    paragraph = " ".join(dice.choices(WORDS, k=CHARACTERS // 2))
    for number in range(count):
        texts = []
        for side in ("first", "second"):
            start = dice.randrange(len(paragraph) - CHARACTERS)
            texts.append(f"The {side} answer to question {number}: {paragraph[start : start + CHARACTERS - 40]}")
        row: dict[str, Any] = {
            "external_id": f"pair-{number}",
            "messages": [{"role": "user", "content": f"Question {number}: why does the sea rise and fall?"}],
            "responses": [{"text": text, "model": f"model-{side}"} for side, text in enumerate(texts)],
        }
        if labels:
            row["annotations"] = [
                {
                    "annotator": f"annotator-{person}",
                    "preference": dice.choice((-2, -1, 1, 2)),
                    "justification": f"@Response 1 says more about question {number} than @Response 2 does.",
                    "ratings": [{name: dice.randrange(5) for name in RATINGS} for _ in texts],
                }
                for person in range(labels)
            ]
        yield row


RATINGS = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def write_lines(path: Path, count: int) -> None:
    """Write JSON lines."""
    with path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(count))


def write_labeled(path: Path, count: int) -> None:
    """Write JSON lines with five labels each."""
    with path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(count, labels=5))


def write_gzip(path: Path, count: int) -> None:
    """Write gzipped JSON lines."""
    with gzip.open(path, "wt", compresslevel=1) as file:
        file.writelines(json.dumps(row) + "\n" for row in rows(count))


def write_array(path: Path, count: int) -> None:
    """Write one JSON array."""
    with path.open("w") as file:
        file.write("[")
        file.writelines(("," if number else "") + json.dumps(row) for number, row in enumerate(rows(count)))
        file.write("]")


def write_csv(path: Path, count: int) -> None:
    """Write CSV with JSON in its cells."""
    import csv

    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["external_id", "messages", "responses"])
        writer.writerows(
            [row["external_id"], json.dumps(row["messages"]), json.dumps(row["responses"])] for row in rows(count)
        )


def write_parquet(path: Path, count: int) -> None:
    """Write Parquet with nested columns."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(rows(count))), path, row_group_size=10_000)


if __name__ == "__main__":
    main()
