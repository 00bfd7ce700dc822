"""The statement that hands out a pair, alone: it must cost the same in a small project and in a large one.

Run with `make bench`, or `python -m benchmarks.queue`. It is measured for a new person and for one who had 20,000
of the open pairs, which all lie in front of what comes next; then in the worst case that we could think of: thousands
of begun pairs that ever different people had. Every lease is undone, so that all of them find the same queue.
"""

import argparse
import sys
import time
from typing import Any

from benchmarks.database import machine, own_database, percentile, run, seed_project

SIZES = (10_000, 100_000, 1_000_000)
HAD, ROUNDS = 20_000, 60
MANY_PEOPLE, CROWDED_PAIRS = 200, 100_000
# What lies first in the queue was begun by one person.
_BEGUN_BY_ONE = """
UPDATE labeling_queueitem SET taken = 1, had = ARRAY[%(person)s] WHERE comparison_id IN (
    SELECT comparison_id FROM labeling_queueitem WHERE project_id = %(project)s
    ORDER BY priority DESC, comparison_id LIMIT %(pairs)s
);
"""
# … by two of two hundred people each; and, if there is a person, by that one too.
_BEGUN_BY_MANY = """
UPDATE labeling_queueitem SET wanted = 5, taken = 2, had = ARRAY(
    SELECT DISTINCT person FROM unnest(ARRAY[
        (%(people)s::bigint[])[1 + place %% 200],
        (%(people)s::bigint[])[1 + (place + 1 + place / 400 %% 50) %% 200],
        %(person)s
    ]) AS person WHERE person IS NOT NULL ORDER BY person
) FROM (
    SELECT comparison_id, row_number() OVER (ORDER BY priority DESC, comparison_id) AS place
    FROM labeling_queueitem WHERE project_id = %(project)s ORDER BY priority DESC, comparison_id LIMIT %(pairs)s
) AS first WHERE first.comparison_id = labeling_queueitem.comparison_id;
"""


def milliseconds(project: Any, person: Any, how: str) -> list[float]:
    """Return how long each of some leases took; all are undone."""
    from django.db import transaction

    from apps.labeling.queue import take_slot

    taken = []
    for _ in range(ROUNDS):
        with transaction.atomic():
            started = time.perf_counter()
            found = take_slot(project_id=project.pk, annotator_id=person.pk, how=how)
            taken.append((time.perf_counter() - started) * 1000)
            transaction.set_rollback(True)
        if found is None:
            raise RuntimeError("There is work, and the queue says that there is none.")
    return taken


def by_size(sizes: tuple[int, ...]) -> list[tuple[str, list[list[float]]]]:
    """Return the times of each case, in a project of each size."""
    cases: dict[str, list[list[float]]] = {}
    for size in sizes:
        project, (new, *people) = seed_project(slug=f"pairs-{size}", pairs=size, people=10, texts=["Short."])
        had = min(HAD, size // 2)
        for how in ("priority", "random"):
            cases.setdefault(f"by {how}, nobody has begun", []).append(milliseconds(project, new, how))
        run(_BEGUN_BY_ONE, {"project": project.pk, "person": people[0].pk, "pairs": had})
        for how in ("priority", "random"):
            for name, person in (("a new person", new), ("the person who had them", people[0])):
                case = f"by {how}, {HAD:,} begun, for {name}"
                cases.setdefault(case, []).append(milliseconds(project, person, how))
    return list(cases.items())


def crowded() -> list[tuple[str, list[float]]]:
    """Return the times where thousands of groups of people lie in front of what comes next."""
    cases = []
    for everywhere in (False, True):
        slug = f"crowded-{everywhere}".lower()
        project, people = seed_project(slug=slug, pairs=CROWDED_PAIRS, people=MANY_PEOPLE + 2, texts=["Short."])
        new, busy, *others = people
        ids = [person.pk for person in others]
        person = busy.pk if everywhere else None
        run(_BEGUN_BY_MANY, {"project": project.pk, "people": ids, "person": person, "pairs": HAD})
        where = f"{HAD:,} begun pairs of {_groups(project):,} groups"
        if everywhere:
            where += " with one person in all of them"
        asking = {"that person": busy} if everywhere else {"a new person": new, "one of 200": others[0]}
        cases += [
            (f"{where}, by {how}, for {name}", milliseconds(project, someone, how))
            for name, someone in asking.items()
            for how in ("priority", "random")
        ]
    return cases


def _groups(project: Any) -> int:
    from apps.labeling.models import QueueItem

    return int(QueueItem.objects.filter(project=project, taken__gt=0).values("had").distinct().count())


def _shown(times: list[float]) -> str:
    return f"{percentile(times, 0.5):.1f} / {percentile(times, 0.95):.1f}"


def main() -> int:
    """Measure on a database of its own and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=SIZES)
    options = parser.parse_args()
    with own_database():
        print(f"## The statement that hands out a pair\n\n{machine()}; milliseconds, p50 / p95\n", flush=True)
        print("| queue | " + " | ".join(f"{size:,} pairs" for size in options.sizes) + " |")
        print("|---|" + "---:|" * len(options.sizes))
        for case, sizes in by_size(tuple(options.sizes)):
            print(f"| {case} | " + " | ".join(_shown(times) for times in sizes) + " |")
        print(f"\n| {CROWDED_PAIRS:,} pairs | p50 / p95 |\n|---|---:|", flush=True)
        for case, times in crowded():
            print(f"| {case} | {_shown(times)} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
