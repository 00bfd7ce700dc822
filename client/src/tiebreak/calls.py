"""Everything one can ask of a Tiebreak: where, with what, and how the answer is read. Both clients use it."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic

from tiebreak import operations, results, transfers
from tiebreak.exchange import Operation, Request, Retries, call, page, segment
from tiebreak.operations import Report
from tiebreak.results import (
    Annotation,
    Comparison,
    Item,
    Job,
    Page,
    Project,
    Raw,
    RewardModel,
    Scores,
    Snapshot,
    Started,
)

PAGE_SIZE = "500"


@dataclass(frozen=True)
class Listing(Generic[Item]):
    """A list that comes in pages."""

    path: str
    read: Callable[[Raw], Item]
    retries: Retries
    filters: Mapping[str, str]

    @property
    def first(self) -> Mapping[str, str]:
        """Return the query of the first page."""
        return {"page_size": PAGE_SIZE, **self.filters}

    def page(self, query: Mapping[str, str]) -> Operation[Page[Item]]:
        """Read the page of this query."""
        return page(Request("GET", self.path, params=query), self.read, self.retries)


@dataclass(frozen=True)
class Calls:
    """The operations of one server."""

    server: str
    retries: Retries

    def projects(self) -> Listing[Project]:
        """List one's projects."""
        return self._listing("projects/", results.project)

    def project(self, slug: str) -> Operation[Project]:
        """Read a project."""
        return operations.get(f"projects/{segment(slug)}/", results.project, self.retries)

    def create_project(
        self, slug: str, name: str, guideline: str, protocol: Mapping[str, Any] | None
    ) -> Operation[Project]:
        """Create a project."""
        body = {"slug": slug, "name": name, "guideline": guideline, "protocol": dict(protocol or {})}
        return operations.post("projects/", body, results.project, self.retries)

    def import_file(
        self, slug: str, path: str | os.PathLike[str], options: Mapping[str, Any] | None, report: Report | None
    ) -> Operation[Started]:
        """Send a file and start its import."""
        return transfers.import_file(
            slug, Path(path), self.retries, server=self.server, options=options or {}, report=report
        )

    def import_items(self, slug: str, items: Iterable[Mapping[str, Any]]) -> Operation[Started]:
        """Start the import of rows."""
        return operations.start(f"projects/{segment(slug)}/imports/", {"items": list(items)}, self.retries)

    def comparisons(self, slug: str, filters: Mapping[str, str]) -> Listing[Comparison]:
        """List a project's comparisons."""
        return self._listing(f"projects/{segment(slug)}/comparisons/", results.comparison, filters)

    def annotations(self, slug: str, filters: Mapping[str, str]) -> Listing[Annotation]:
        """List a project's annotations."""
        return self._listing(f"projects/{segment(slug)}/annotations/", results.annotation, filters)

    def jobs(self, slug: str, filters: Mapping[str, str]) -> Listing[Job]:
        """List a project's jobs."""
        return self._listing(f"projects/{segment(slug)}/jobs/", results.job, filters)

    def job(self, job_id: str) -> Operation[Job]:
        """Read a job."""
        return operations.get(f"jobs/{segment(job_id)}/", results.job, self.retries)

    def wait(self, job_id: str, timeout: float | None, report: Report | None) -> Operation[Job]:
        """Ask for a job until it has ended."""
        return operations.wait(job_id, self.retries, timeout=timeout, report=report)

    def cancel(self, job_id: str) -> Operation[Job]:
        """Cancel a job."""
        return operations.post(f"jobs/{segment(job_id)}/cancel/", None, results.job, self.retries)

    def snapshots(self, slug: str) -> Listing[Snapshot]:
        """List a project's snapshots."""
        return self._listing(f"projects/{segment(slug)}/snapshots/", results.snapshot)

    def snapshot(self, snapshot_id: str) -> Operation[Snapshot]:
        """Read a manifest."""
        return operations.get(f"snapshots/{segment(snapshot_id)}/", results.snapshot, self.retries)

    def create_snapshot(self, slug: str, name: str, selection: Mapping[str, Any]) -> Operation[Started]:
        """Freeze a dataset."""
        return operations.start(f"projects/{segment(slug)}/snapshots/", {"name": name, **selection}, self.retries)

    def download(
        self,
        snapshot_id: str,
        export_format: str,
        split: str,
        to: str | os.PathLike[str],
        extension: str,
        report: Report | None,
    ) -> Operation[Path]:
        """Bring a file of a snapshot."""
        return transfers.download(
            snapshot_id, export_format, split, Path(to), self.retries, extension=extension, report=report
        )

    def download_document(self, snapshot_id: str, name: str, to: str | os.PathLike[str]) -> Operation[Path]:
        """Bring a document of a snapshot."""
        return transfers.download_document(snapshot_id, name, Path(to), self.retries)

    def start_training(self, slug: str, recipe: Mapping[str, Any] | None, snapshot: str | None) -> Operation[Started]:
        """Train a reward model."""
        body = {"recipe": dict(recipe or {}), "snapshot": snapshot}
        return operations.start(f"projects/{segment(slug)}/training-runs/", body, self.retries)

    def reward_models(self, slug: str) -> Listing[RewardModel]:
        """List the versions of a project's reward model."""
        return self._listing(f"projects/{segment(slug)}/reward-models/", results.reward_model)

    def reward_model(self, model_id: str) -> Operation[RewardModel]:
        """Read a version."""
        return operations.get(f"reward-models/{segment(model_id)}/", results.reward_model, self.retries)

    def promote(self, model_id: str) -> Operation[RewardModel]:
        """Make a version the current one, and read it."""
        yield from call(Request("POST", f"reward-models/{segment(model_id)}/promote/"), self.retries)
        return (yield from self.reward_model(model_id))

    def score(
        self, model_id: str, items: Iterable[Mapping[str, Any]], shaping: str, report: Report | None
    ) -> Operation[Scores]:
        """Score items."""
        total = len(items) if isinstance(items, list | tuple) else 0
        return operations.score(model_id, items, self.retries, shaping=shaping, report=report, total=total)

    def request(self, method: str, path: str, body: Any, params: Mapping[str, str]) -> Operation[Any]:
        """Send anything."""
        reply = yield from call(Request(method, path, params=params, body=body), self.retries)
        return reply.json if reply.body else None

    def _listing(
        self, path: str, read: Callable[[Raw], Item], filters: Mapping[str, str] | None = None
    ) -> Listing[Item]:
        return Listing(path, read, self.retries, filters or {})


def id_of(thing: Started | Job | Snapshot | RewardModel | str) -> str:
    """Return the id of what may be named by itself or by its id; of work that has begun, its job's."""
    if isinstance(thing, str):
        return thing
    return thing.job.id if isinstance(thing, Started) else thing.id
