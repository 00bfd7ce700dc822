"""Tiebreak as docker-compose.yml runs it: PostgreSQL from Debian and a broker of its own, RabbitMQ and then Redis."""

import json
from pathlib import Path

import pytest

from tests.e2e.running import ROOT, wait_until
from tests.services.compose import Compose, composed

JOBS = """
import json
from apps.jobs.models import Job
rows = Job.objects.order_by("id").values("kind", "state", "attempt", "error")
print(json.dumps({row["kind"]: row for row in rows}))
"""
SIGNALS = """
from apps.prompts.models import Response
from apps.signals.models import Signal
print(Signal.objects.count(), Response.objects.count())
"""


def jobs(services: Compose) -> dict[str, dict[str, object]]:
    """Return the newest job of each kind."""
    return dict(json.loads(services.manage("shell", "--verbosity", "0", "--command", JOBS).splitlines()[-1]))


def finished(services: Compose, kind: str) -> bool:
    job = jobs(services).get(kind)
    return job is not None and job["state"] not in {"queued", "running"}


def ready(services: Compose) -> bool:
    answer = services.readiness()
    return bool(answer and all(answer["checks"]["workers"].values()))


@pytest.mark.timeout(400)
def test_a_lost_message_is_sent_again_and_training_and_scoring_end(
    database_url: str, broker_url: str, tmp_path: Path
) -> None:
    environment = {
        "DATABASE_URL": database_url,
        "CELERY_BROKER_URL": broker_url,
        "JOB_LEASE_SECONDS": "15",
        "BEAT_RESEND_SECONDS": "2",
    }
    with composed(tmp_path / "var", environment) as services:
        services.run("migrate")
        services.manage("collectstatic", "--no-input", "--verbosity", "0")
        services.manage("load_demo")
        purged = services.purge("gpu")
        assert "Purged 1 message" in purged, purged
        assert jobs(services)["training"]["state"] == "queued"

        services.start("web", "cpu-worker", "gpu-worker", "beat")
        wait_until(lambda: ready(services), 90, "web and both workers are seen")
        answer = services.readiness()
        assert answer["code"] == 200
        assert {name: check["ok"] for name, check in answer["checks"].items() if name != "workers"} == {
            "database": True,
            "broker": True,
            "migrations": True,
            "reward_server": False,  # not started here, and not needed to be ready
        }
        for kind in ("training", "scoring"):
            wait_until(lambda kind=kind: finished(services, kind), 150, f"{kind} has ended")
            assert jobs(services)[kind] == {"kind": kind, "state": "succeeded", "attempt": 1, "error": ""}
        signals, responses = services.manage("shell", "--verbosity", "0", "--command", SIGNALS).split()[-2:]
        assert signals == responses

        rows = tmp_path / "rows.jsonl"
        rows.write_text(
            (ROOT / "demo" / "math.jsonl").read_text().replace('"external_id": "', '"external_id": "again-')
        )
        assert "0 rejected" in services.manage("import_pairs", str(rows), "--project", "demo")
