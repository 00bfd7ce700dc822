"""How fast verdicts of a language model come in, and what memory that takes however many are still to be asked.

Run with `make bench`, or `python -m benchmarks.rules_llm`. The model is a process of its own on this machine that
answers at once, or after a pause as models do, so it takes from the asker's cores. The peer is the same questions
sent by the `openai` library alone, from as many threads, without cache, log, limits or address check.
"""

import argparse
import gc
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from statistics import median
from typing import Any

from benchmarks.database import machine, own_database, seed_project

RULES, VERDICTS, CONCURRENCY, PEER, REPEATS = 10, 10_000, 32, 1_000, 3
VERDICT = json.dumps({"verdict": "yes"})


def resident_mb() -> float:
    """Return the memory of this process in MB, from the kernel."""
    with open("/proc/self/statm") as fields:
        return int(fields.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6


def verified(address: str, *, pairs: int, slug: str) -> tuple[float, list[float]]:
    """Verify all responses of a new project; return verdicts per second, and the memory after each tenth of them."""
    from apps.accounts.models import User
    from apps.endpoints.services import create_endpoint
    from apps.jobs.models import Job
    from apps.rules.models import RuleSet, Verdict
    from apps.rules.services import ProposedRule, create_rule_set
    from apps.rules.verification import start_verification
    from worker.tasks import rule_verification

    project, (person, *_others) = seed_project(slug=slug, pairs=pairs, people=2)
    owner = User.objects.get(pk=person.pk)
    endpoint = create_endpoint(owner=owner, name=slug, model=slug, base_url=address, concurrency=CONCURRENCY)
    rules = [ProposedRule(text=f"The response keeps rule number {number}.") for number in range(RULES)]
    rule_set = create_rule_set(
        project=project, origin=RuleSet.Origin.LANGUAGE_MODEL, rules=rules, options={}, created_by=None
    )
    job = start_verification(rule_set=rule_set, endpoint=str(endpoint.pk), created_by=owner)
    memory: list[float] = []
    read, total = rule_verification.verification.store_verdicts, 2 * pairs * RULES
    counted = 0

    def watched(verdicts: Any) -> None:
        nonlocal counted
        read(verdicts)
        before, counted = counted, counted + len(verdicts)
        if counted * 10 // total > before * 10 // total:
            gc.collect()
            memory.append(resident_mb())

    rule_verification.verification.store_verdicts = watched
    began = time.perf_counter()
    try:
        rule_verification.verify_responses(job.pk)
    finally:
        rule_verification.verification.store_verdicts = read
    took = time.perf_counter() - began
    job = Job.objects.get(pk=job.pk)
    if job.state != Job.State.SUCCEEDED or Verdict.objects.filter(response__prompt__project=project).count() != total:
        raise RuntimeError(f"The verification did not end well: {job.error}")
    return total / took, memory


def plain(address: str) -> float:
    """Return the answers per second of the `openai` library with as many threads and nothing around it."""
    import openai

    client = openai.OpenAI(base_url=address, api_key="x", max_retries=0)
    text = "x" * 2_500

    def ask(number: int) -> None:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": f"{number} {text}"}])

    ask(0)
    began = time.perf_counter()
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        list(pool.map(ask, range(PEER)))
    return PEER / (time.perf_counter() - began)


@contextmanager
def model(seconds: float) -> Iterator[str]:
    """Run the model's process; yield its address."""
    command = [sys.executable, "-m", "benchmarks.rules_llm", "--speak", str(seconds)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        yield process.stdout.readline().strip()
    finally:
        process.kill()
        process.wait()


def _speak(seconds: float) -> None:
    from tests.language_model_server import Said, speaking

    def answer(body: dict[str, Any]) -> Said:
        time.sleep(seconds)
        return Said(VERDICT)

    with speaking(keep=False) as running:
        running.answer = answer
        print(running.url, flush=True)
        time.sleep(36_000)


def main() -> int:
    """Measure on a database of its own and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--speak", type=float, help=argparse.SUPPRESS)
    parser.add_argument("--verdicts", type=int, default=VERDICTS, help="how many the long run makes")
    options = parser.parse_args()
    if options.speak is not None:
        _speak(options.speak)
        return 0
    with own_database(), model(0.0) as quick, model(0.5) as slow:
        from django.test import override_settings

        with override_settings(OUTGOING_ALLOW=["127.0.0.0/8"]):
            print(f"## Verdicts of a language model\n\n{machine()}, load {os.getloadavg()[0]:.1f}\n")
            print("| figure | value |\n|---|---:|", flush=True)
            small = PEER // (2 * RULES)
            rates, peers = [], []
            for repeat in range(REPEATS):
                rates.append(verified(quick, pairs=small, slug=f"quick-{repeat}")[0])
                peers.append(plain(quick))
            print(f"| verdicts per second, model answers at once, {CONCURRENCY} at a time | {median(rates):.0f} |")
            print(f"| answers per second of the library alone | {median(peers):.0f} |", flush=True)
            rate, _memory = verified(slow, pairs=small, slug="slow")
            print(f"| verdicts per second, model takes 0.5 s ({CONCURRENCY / 0.5:.0f} would be all) | {rate:.0f} |")
            rate, memory = verified(quick, pairs=options.verdicts // (2 * RULES), slug="long")
            print(f"| {options.verdicts} verdicts, verdicts per second | {rate:.0f} |")
            print(f"| memory after a tenth of them, after all | {memory[0]:.0f} MB, {memory[-1]:.0f} MB |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
