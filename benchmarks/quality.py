"""The quality report of a large project, computed and read again; agreement alone, beside the `krippendorff` package.

Run with `make bench`, or `python -m benchmarks.quality`. A million comparisons, 200,000 annotations of 60 people. The
package is no dependency: its column is left out where it is not installed.
"""

import argparse
import importlib.util
import resource
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

from benchmarks.database import machine, own_database, run, seed_project, seed_work

PAIRS, COMPLETE, BEGUN, PEOPLE = 1_000_000, 60_000, 20_000, 60
VOTES = 1_000_000
ROUNDS = 3
AIM = 5.0
# People who mostly agree, and rate as they prefer: else there would be a handful of kinds of comparisons to count.
_ANSWERS = """
UPDATE labeling_annotation AS annotation SET
    preference = (ARRAY[-3, -2, -1, 1, 2, 3])[1 + mod(abs(hashint8(comparison_id)) + abs(hashint8(id)) %% 3, 6)],
    ratings_1 = jsonb_build_object('helpfulness', abs(hashint8(id)) %% 5, 'correctness', abs(hashint8(id + 1)) %% 5,
        'coherence', 3, 'complexity', 2, 'verbosity', abs(hashint8(id + 2)) %% 5)
WHERE project_id = %(project)s;
"""


def measure(*, pairs: int, complete: int, begun: int) -> list[tuple[str, str]]:
    """Seed, compute the report some times, and return what was measured."""
    from django.conf import settings
    from django.test import Client

    from apps.projects.models import Membership
    from apps.quality.models import QualityReport
    from apps.quality.services import project_quality

    settings.ALLOWED_HOSTS = ["testserver"]
    project, people = seed_project(slug="quality", pairs=pairs, people=PEOPLE)
    seed_work(project=project, people=people, complete=complete, begun=begun)
    run(_ANSWERS, {"project": project.pk})
    Membership.objects.filter(user=people[0]).update(role=Membership.Role.MANAGER)
    before = _peak_megabytes()
    computed = []
    for _ in range(ROUNDS):
        QualityReport.objects.all().delete()
        computed.append(_seconds(lambda: project_quality(project=project)))
    grown = _peak_megabytes() - before
    quality = project_quality(project=project)
    kept = statistics.median(_seconds(lambda: project_quality(project=project)) for _ in range(20))
    client = Client()
    client.force_login(people[0])
    address = f"/projects/{project.slug}/quality/"
    client.get(address)
    page = statistics.median(_seconds(lambda: client.get(address)) for _ in range(10))
    rounds = ", ".join(f"{each:.2f}" for each in computed)
    return [
        ("comparisons, annotations, people", f"{pairs:,}, {quality.annotations['total']:,}, {len(quality.annotators)}"),
        ("report computed", f"**{statistics.median(computed):.2f} s** (rounds: {rounds})"),
        ("memory that computing adds", f"{grown:.0f} MB"),
        ("report read within the minute", f"{kept * 1000:.1f} ms"),
        ("page rendered from it", f"{page * 1000:.0f} ms"),
    ]


def agreement_alone(votes: int) -> list[tuple[str, str, str]]:
    """Return how long agreement of random votes takes, three a comparison: ours, and the package's from counts."""
    import numpy as np

    from worker.core.agreement import agreement, krippendorff_alpha, tally

    scale = (-3.0, -2.0, -1.0, 1.0, 2.0, 3.0)
    rng = np.random.default_rng(0)
    units = np.arange(votes) // 3
    categories = np.clip(rng.integers(0, 6, votes // 3 + 1)[units] + rng.integers(-1, 2, votes), 0, 5)
    rows = []
    for level in ("nominal", "ordinal", "interval"):
        ours = _best(lambda level=level: krippendorff_alpha(tally(units, categories, scale), level))
        rows.append((f"Krippendorff's alpha, {level}", ours, _peer(units, categories, scale, level)))
    everything = _best(lambda: agreement(tally(units, categories, scale)))
    rows.append(("nine figures with 1,000 resamples of comparisons", everything, ("–", None)))
    for name, (_time, value), (_peer_time, peer_value) in rows[:3]:
        if peer_value is not None and abs(value - peer_value) > 1e-9:
            raise RuntimeError(f"{name}: ours says {value}, the package {peer_value}.")
    return [(name, ours[0], peer[0]) for name, ours, peer in rows]


def _peer(units: Any, categories: Any, scale: tuple[float, ...], level: str) -> tuple[str, Any]:
    """Return time and value of the package, from counts: from a table of people × units it takes far longer."""
    if importlib.util.find_spec("krippendorff") is None:
        return "not installed", None
    import krippendorff
    import numpy as np

    def alpha() -> float:
        width = len(scale)
        counts = np.bincount(units * width + categories, minlength=(int(units.max()) + 1) * width).reshape(-1, width)
        return float(krippendorff.alpha(value_counts=counts, value_domain=scale, level_of_measurement=level))

    return _best(alpha)


def _best(work: Callable[[], Any]) -> tuple[str, Any]:
    value = work()
    return f"{min(_seconds(work) for _ in range(ROUNDS)) * 1000:.0f} ms", value


def _seconds(work: Callable[[], Any]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def _peak_megabytes() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main() -> int:
    """Measure on a database of its own and print the tables; fail when the report takes longer than it should."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--complete", type=int, default=COMPLETE)
    parser.add_argument("--begun", type=int, default=BEGUN)
    options = parser.parse_args()
    with own_database():
        rows = measure(pairs=options.pairs, complete=options.complete, begun=options.begun)
        print(f"## Quality report\n\n{machine()}\n")
    print("\n".join(["| figure | value |", "|---|---|", *(f"| {name} | {value} |" for name, value in rows)]))
    print(f"\n## Agreement of {VOTES:,} votes, counted from scratch\n\n| figure | ours | krippendorff, from counts |")
    print("\n".join(["|---|---:|---:|", *(f"| {' | '.join(row)} |" for row in agreement_alone(VOTES))]))
    print(f"\nAim: computed in under {AIM:g} s.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
