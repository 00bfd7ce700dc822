"""Labeled pairs with reasons, a scripted model, and an endpoint that asks it."""

import pytest

from apps.endpoints.services import create_endpoint
from apps.imports.services import start_import_of_items
from apps.jobs.models import Job
from tests.language_model_server import speaking
from worker.tasks.datasets import import_pairs


@pytest.fixture
def server(settings):
    settings.OUTGOING_ALLOW = ["127.0.0.0/8"]
    settings.MODEL_RETRY_SECONDS = 0.01
    with speaking() as running:
        yield running


@pytest.fixture
def endpoint(server, manager):
    return create_endpoint(owner=manager, name="Scripted", model="m-1", base_url=server.url, concurrency=8)


def pair(number, preference=-2, **changes):
    reason = f"@Response {1 if preference < 0 else 2} gives more reasons, which is what number {number} asked for."
    return {
        "external_id": f"pair-{number}",
        "messages": [{"role": "user", "content": f"Question {number}?"}],
        "responses": [{"text": f"First {number}"}, {"text": f"Second {number}"}],
        "annotations": [{"annotator": f"a{n}", "preference": preference, "justification": reason} for n in range(3)],
        **changes,
    }


def imported(project, rows):
    """Import rows as a worker does."""
    job = start_import_of_items(project=project, items=list(rows), created_by=None).job
    import_pairs(job.pk)
    job.refresh_from_db()
    assert job.state == Job.State.SUCCEEDED, job.error
