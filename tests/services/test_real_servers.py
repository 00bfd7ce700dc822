"""Tiebreak as docker-compose.yml runs it: PostgreSQL from Debian and a broker of its own, RabbitMQ and then Redis."""

from pathlib import Path
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row

from tests.e2e.running import ROOT, wait_until
from tests.services.compose import Compose, composed


def jobs(database_url: str) -> dict[str, dict[str, Any]]:
    """Return the newest job of each kind, asked of the database: a shell of Django costs two seconds a time."""
    with psycopg.connect(database_url, row_factory=dict_row) as connection:
        rows = connection.execute("SELECT kind, state, attempt, error FROM jobs_job ORDER BY id").fetchall()
    return {row["kind"]: row for row in rows}


def finished(database_url: str, kind: str) -> bool:
    job = jobs(database_url).get(kind)
    return job is not None and job["state"] not in {"queued", "running"}


def signals_and_responses(database_url: str) -> tuple[int, int]:
    counts = "SELECT (SELECT count(*) FROM signals_signal), (SELECT count(*) FROM prompts_response)"
    with psycopg.connect(database_url) as connection:
        return connection.execute(counts).fetchone() or (0, 0)


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
        "JOB_HEARTBEAT_SECONDS": "3",
        "BEAT_RESEND_SECONDS": "2",
    }
    with composed(tmp_path / "var", environment) as services:
        services.run("migrate")
        services.manage("load_demo")
        purged = services.purge("gpu")
        assert "Purged 1 message" in purged, purged
        assert jobs(database_url)["training"]["state"] == "queued"

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
            wait_until(lambda kind=kind: finished(database_url, kind), 150, f"{kind} has ended")
            assert jobs(database_url)[kind] == {"kind": kind, "state": "succeeded", "attempt": 1, "error": ""}
        signals, responses = signals_and_responses(database_url)
        assert signals == responses > 0

        rows = tmp_path / "rows.jsonl"
        rows.write_text(
            (ROOT / "demo" / "math.jsonl").read_text().replace('"external_id": "', '"external_id": "again-')
        )
        assert "0 rejected" in services.manage("import_pairs", str(rows), "--project", "demo")
