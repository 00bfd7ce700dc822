"""A whole extraction of 256 real pairs whose worker is killed twice: the same rules, and nothing is paid for twice."""

import json
import os
import signal
import threading
from pathlib import Path

import pytest
from django.db import connection

from apps.endpoints.models import ModelAnswer, ModelCall
from apps.endpoints.services import create_endpoint
from apps.jobs.models import Job
from apps.jobs.services import release_owned
from apps.rules.extraction import Selection, start_reading
from apps.rules.models import RuleExtraction
from tests.language_model_server import speaking
from tests.rule_extraction.conftest import imported
from tests.rule_extraction.scripted import Extractor
from worker.tasks.rule_reading import read_rules

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "ukpconvarg1_train_1.jsonl"
PAIRS, CONCURRENCY, KILLED_AT = 256, 8, (150, 420)


def work_until_killed(job: Job, extractor: Extractor, request: int) -> None:
    """Let a process of its own do the job, and kill it when the model has got so many requests."""
    connection.close()
    reached = threading.Event()
    extractor.on_request = lambda number: reached.set() if number >= request else None
    child = os.fork()
    if child == 0:
        read_rules(job.pk)
        os._exit(0)
    assert reached.wait(120), "the extraction ended before it could be killed"
    os.kill(child, signal.SIGKILL)
    assert os.waitpid(child, 0)[1] == signal.SIGKILL
    extractor.on_request = lambda number: None
    assert Job.objects.get(pk=job.pk).state == Job.State.RUNNING
    assert release_owned(owner="local") == 1


def result(project, manager, kills=()):
    """Run an extraction against a model of its own; return its rules, its steps, and what was asked."""
    extractor = Extractor(hopeless=41)
    with speaking(keep=False) as server:
        server.answer = extractor
        endpoint = create_endpoint(
            owner=manager, name=f"{len(kills)} kills", model="m", base_url=server.url, concurrency=CONCURRENCY
        )
        made = start_reading(
            project=project, endpoint=str(endpoint.pk), selection=Selection(PAIRS), seed=7, created_by=manager
        )
        for request in kills:
            work_until_killed(made.job, extractor, request)
        read_rules(made.job_id)
    extraction = RuleExtraction.objects.select_related("job", "rule_set").get(pk=made.pk)
    assert extraction.job.state == Job.State.SUCCEEDED, extraction.job.error
    assert extraction.job.result["rule_set"] == str(extraction.rule_set.pk)
    rules = list(extraction.rule_set.rules.order_by("number").values_list("text", "sources"))
    columns = ("comparison_id", "swapped", "reasoning", "answer", "candidates", "read_from", "error", "rounds")
    steps = list(extraction.items.order_by("number").values_list(*columns))
    merges = list(extraction.merges.order_by("level", "number").values_list("level", "number", "inputs", "rules"))
    return extraction, endpoint, extractor, (rules, steps, merges, extraction.counts)


@pytest.mark.django_db(transaction=True)
@pytest.mark.skipif(not DATA.exists(), reason="the UKP ConvArg data is not there")
def test_256_real_pairs_killed_twice_give_the_rules_of_the_undisturbed_run(project, manager, settings):
    settings.OUTGOING_ALLOW, settings.MODEL_RETRY_SECONDS = ["127.0.0.0/8"], 0.01
    with DATA.open() as lines:
        imported(project, [json.loads(next(lines)) for _ in range(400)])
    calm, _endpoint, once, expected = result(project, manager)
    killed, endpoint, extractor, found = result(project, manager, KILLED_AT)
    assert found == expected
    counts = calm.counts
    assert counts["comparisons"] == PAIRS
    assert 0 < counts["failed"] < 20, "some choices never got an answer, and that ended nothing"
    assert counts["interpreted"] == PAIRS - counts["failed"]
    assert counts["candidates"] == 2 * counts["interpreted"]
    assert 5 <= counts["rules"] <= 10
    sources = {pk for _text, each in expected[0] for pk in each["comparisons"]}
    assert len(sources) == counts["interpreted"]

    # What was needed was asked and answered, once each: only what was on its way when a worker died was asked again.
    assert set(once.answered) == set(extractor.answered)
    assert set(once.answered.values()) == {1}
    repeated = extractor.answered.total() - len(extractor.answered)
    assert repeated <= CONCURRENCY * len(KILLED_AT)
    assert ModelAnswer.objects.filter(endpoint=endpoint, answered_at__isnull=False).count() == len(extractor.answered)
    assert ModelCall.objects.filter(endpoint=endpoint, error="").count() == len(extractor.answered)
    assert killed.job.attempt == 3
