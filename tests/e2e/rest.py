"""A researcher's script: the REST API over real HTTP."""

import logging
from typing import Any

import httpx

from tests.e2e.running import wait_until

logging.getLogger("httpx").setLevel(logging.WARNING)  # a line per poll buries what went wrong


PAUSE = 0.5
"""Seconds between two looks at jobs: more often, the looking slows what is looked at."""


class Rest:
    """The API of a running Tiebreak, with one person's token."""

    def __init__(self, base_url: str, token: str) -> None:
        self.http = httpx.Client(
            base_url=f"{base_url}/api/v1/", headers={"Authorization": f"Token {token}"}, timeout=30, trust_env=False
        )

    def get(self, path: str, **params: Any) -> Any:
        """GET and return the JSON body."""
        return self._body(self.http.get(path, params=params))

    def post(self, path: str, body: Any = None) -> Any:
        """POST JSON and return the JSON body."""
        return self._body(self.http.post(path, json={} if body is None else body))

    def all(self, path: str, **params: Any) -> list[dict[str, Any]]:
        """Return every row of a list, page by page."""
        rows, page = [], self.get(path, **params)
        while True:
            rows += page["results"]
            if not page["next"]:
                return rows
            page = self._body(self.http.get(page["next"]))

    def finished(self, job: dict[str, Any], seconds: float = 120) -> dict[str, Any]:
        """Wait until a job has succeeded and return it."""
        return wait_until(lambda: self._succeeded(job["id"]), seconds, f"job {job['id']} has succeeded", PAUSE)

    def idle(self, slug: str, seconds: float = 120) -> list[dict[str, Any]]:
        """Wait until no job of the project is unfinished; return them all."""

        def all_done() -> list[dict[str, Any]] | None:
            jobs = self.all(f"projects/{slug}/jobs/")
            return jobs if all(job["state"] not in {"queued", "running"} for job in jobs) else None

        return wait_until(all_done, seconds, f"no job of {slug} is unfinished", PAUSE)

    def _succeeded(self, job_id: str) -> dict[str, Any] | None:
        job = self.get(f"jobs/{job_id}/")
        assert job["state"] not in {"failed", "cancelled"}, job
        return job if job["state"] == "succeeded" else None

    def _body(self, reply: httpx.Response) -> Any:
        assert reply.status_code < 400, f"{reply.request.method} {reply.request.url}: {reply.status_code} {reply.text}"
        return reply.json() if reply.content else None
