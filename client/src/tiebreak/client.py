"""The synchronous client: carries out operations (`tiebreak.exchange`) with httpx."""

import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Self

import httpx

from tiebreak import credentials
from tiebreak.calls import Calls, Listing, id_of
from tiebreak.errors import NetworkError
from tiebreak.exchange import Effect, Fetch, Operation, Pause, Reply, Result, Retries, Work
from tiebreak.operations import Report
from tiebreak.progress import bar
from tiebreak.results import Annotation, Comparison, Item, Job, Project, RewardModel, Scores, Snapshot, Started
from tiebreak.transport import TIMEOUT, Target, TokenAuth, arguments, head, translated


class Tiebreak:
    """A Tiebreak at an address, asked with a token. Use it with `with`, or `close` it.

    `progress` is True for a bar on standard error, or a function `(done, total, message)`.
    """

    def __init__(
        self,
        base_url: str,
        token: str,
        *,
        timeout: httpx.Timeout | float = TIMEOUT,
        retries: Retries | None = None,
    ) -> None:
        self._target = Target(base_url, token)
        self._calls = Calls(self._target.address, retries or Retries())
        self._http = httpx.Client(auth=TokenAuth(self._target), timeout=timeout, follow_redirects=False)

    @classmethod
    def stored(cls, **options: Any) -> Self:
        """Return a client for what TIEBREAK_URL and TIEBREAK_TOKEN say, or `tiebreak login` has stored."""
        target = credentials.load()
        return cls(target.address, target.token, **options)

    def __repr__(self) -> str:
        return f"Tiebreak({self._target.address!r})"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    # --- Projects ---

    def projects(self) -> Iterator[Project]:
        """Yield the projects that you are a member of."""
        return self._all(self._calls.projects())

    def project(self, slug: str) -> Project:
        """Return one project."""
        return self._run(self._calls.project(slug))

    def create_project(
        self, slug: str, name: str, *, guideline: str = "", protocol: Mapping[str, Any] | None = None
    ) -> Project:
        """Create a project and become its manager."""
        return self._run(self._calls.create_project(slug, name, guideline, protocol))

    # --- Pairs and labels ---

    def import_file(
        self,
        slug: str,
        path: str | os.PathLike[str],
        *,
        options: Mapping[str, Any] | None = None,
        progress: bool | Report = False,
    ) -> Started:
        """Send a file of pairs and start its import; a large one goes on where an earlier try broke off."""
        with bar(progress, Path(path).name, in_bytes=True) as report:
            return self._run(self._calls.import_file(slug, path, options, report))

    def import_items(self, slug: str, items: Iterable[Mapping[str, Any]]) -> Started:
        """Start the import of rows that are at hand."""
        return self._run(self._calls.import_items(slug, items))

    def comparisons(self, slug: str, **filters: str) -> Iterator[Comparison]:
        """Yield a project's comparisons, all or those of a `state` or an `external_id`."""
        return self._all(self._calls.comparisons(slug, filters))

    def annotations(self, slug: str, **filters: str) -> Iterator[Annotation]:
        """Yield a project's annotations, in canonical order."""
        return self._all(self._calls.annotations(slug, filters))

    # --- Jobs ---

    def jobs(self, slug: str, **filters: str) -> Iterator[Job]:
        """Yield a project's jobs, all or those of a `kind` or a `state`."""
        return self._all(self._calls.jobs(slug, filters))

    def job(self, job_id: str) -> Job:
        """Return a job as it is now."""
        return self._run(self._calls.job(job_id))

    def wait(self, job: Job | Started | str, *, timeout: float | None = None, progress: bool | Report = False) -> Job:
        """Wait until a job has succeeded and return it; raise JobFailed, or TimedOut after `timeout` seconds."""
        with bar(progress, f"Job {id_of(job)}") as report:
            return self._run(self._calls.wait(id_of(job), timeout, report))

    def cancel(self, job: Job | Started | str) -> Job:
        """Cancel a job."""
        return self._run(self._calls.cancel(id_of(job)))

    # --- Datasets ---

    def snapshots(self, slug: str) -> Iterator[Snapshot]:
        """Yield a project's snapshots, without their files."""
        return self._all(self._calls.snapshots(slug))

    def snapshot(self, snapshot_id: str) -> Snapshot:
        """Return a snapshot with its manifest."""
        return self._run(self._calls.snapshot(snapshot_id))

    def create_snapshot(self, slug: str, name: str, **selection: Any) -> Started:
        """Freeze a dataset, as `splits`, `seed`, `filters`, `formats` and `encodings` say.

        Its files are there when the job is done.
        """
        return self._run(self._calls.create_snapshot(slug, name, selection))

    def download(
        self,
        snapshot: Snapshot | str,
        format: str,
        split: str,
        to: str | os.PathLike[str],
        *,
        extension: str = "jsonl",
        progress: bool | Report = False,
    ) -> Path:
        """Bring a file of a snapshot to `to`: whole, checked against the manifest, resumed after a break."""
        with bar(progress, f"{format}/{split}.{extension}", in_bytes=True) as report:
            return self._run(self._calls.download(id_of(snapshot), format, split, to, extension, report))

    def download_document(self, snapshot: Snapshot | str, name: str, to: str | os.PathLike[str]) -> Path:
        """Bring a snapshot's data card (`README.md`) or Croissant description (`croissant.json`) to `to`."""
        return self._run(self._calls.download_document(id_of(snapshot), name, to))

    # --- Reward models ---

    def start_training(
        self, slug: str, *, recipe: Mapping[str, Any] | None = None, snapshot: str | None = None
    ) -> Started:
        """Train a reward model; `recipe` names what differs from the project's."""
        return self._run(self._calls.start_training(slug, recipe, snapshot))

    def reward_models(self, slug: str) -> Iterator[RewardModel]:
        """Yield the versions of a project's reward model."""
        return self._all(self._calls.reward_models(slug))

    def promote(self, model: RewardModel | str) -> RewardModel:
        """Make a version the current one."""
        return self._run(self._calls.promote(id_of(model)))

    def score(
        self,
        model: RewardModel | str,
        items: Iterable[Mapping[str, Any]],
        *,
        shaping: str = "none",
        progress: bool | Report = False,
    ) -> Scores:
        """Return the rewards of items `{"messages": […], "response": "…"}`, in their order."""
        with bar(progress, "Scoring") as report:
            return self._run(self._calls.score(id_of(model), items, shaping, report))

    # --- Anything else ---

    def request(self, method: str, path: str, body: Any = None, **params: str) -> Any:
        """Send a request that has no method here, with the same retries; return the JSON it is answered with."""
        return self._run(self._calls.request(method, path, body, params))

    # --- Carrying out ---

    def _all(self, listing: Listing[Item]) -> Iterator[Item]:
        query: Mapping[str, str] | None = listing.first
        while query is not None:
            found = self._run(listing.page(query))
            yield from found.items
            query = found.next

    def _run(self, operation: Operation[Result]) -> Result:
        answer: Any = None
        broken: NetworkError | None = None
        try:
            while True:
                effect = operation.throw(broken) if broken else operation.send(answer)
                answer = broken = None
                try:
                    answer = self._carry_out(effect)
                except NetworkError as error:
                    broken = error
        except StopIteration as end:
            result: Result = end.value
            return result
        finally:
            operation.close()

    def _carry_out(self, effect: Effect) -> Any:
        if isinstance(effect, Work):
            return effect.do()
        if isinstance(effect, Pause):
            time.sleep(effect.seconds)
            return None
        request = effect.request if isinstance(effect, Fetch) else effect
        with translated(self._target), arguments(self._target, request) as sent, self._http.stream(**sent) as response:
            reply = head(response)
            take = effect.begin(reply) if isinstance(effect, Fetch) else None
            if take is None:
                return Reply(reply.status, reply.headers, response.read())
            for chunk in response.iter_raw():
                take(chunk)
            return reply
