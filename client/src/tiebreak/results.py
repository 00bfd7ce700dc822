"""What the server answers, as frozen dataclasses; `raw` is the whole JSON object, newer fields included."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from tiebreak.errors import UnexpectedReply

Raw = Mapping[str, Any]
Item = TypeVar("Item")
FINISHED = frozenset({"succeeded", "failed", "cancelled"})


@dataclass(frozen=True)
class Project:
    """A project that you are a member of, and what you are in it."""

    slug: str
    name: str
    role: str
    guideline: str = field(repr=False)
    guideline_version: int
    protocol: Raw = field(repr=False)
    raw: Raw = field(repr=False)


@dataclass(frozen=True)
class Progress:
    """How far a job is; `total` is 0 while the amount of work is unknown."""

    done: int
    total: int
    message: str


@dataclass(frozen=True)
class Job:
    """One long task: queued, running, succeeded, failed or cancelled."""

    id: str
    kind: str
    state: str
    progress: Progress
    result: Raw | None
    error: str | None
    raw: Raw = field(repr=False)

    @property
    def finished(self) -> bool:
        """Say whether nothing more will happen."""
        return self.state in FINISHED


@dataclass(frozen=True)
class Started:
    """Long work that has begun: the id of the object that it fills, if there is one, and the job to watch."""

    id: str | None
    job: Job


@dataclass(frozen=True)
class Consensus:
    """What the annotations of a comparison add up to; a preference is −3…3, "neither" or None."""

    preference: int | str | None
    status: str
    excluded_reason: str | None


@dataclass(frozen=True)
class Comparison:
    """Two responses to one prompt."""

    id: str
    external_id: str
    state: str
    annotation_count: int
    consensus: Consensus
    raw: Raw = field(repr=False)


@dataclass(frozen=True)
class Annotation:
    """What somebody submitted, in canonical order."""

    id: str
    comparison: str
    annotator: str
    preference: int | str | None
    justification: str = field(repr=False)
    raw: Raw = field(repr=False)


@dataclass(frozen=True)
class SnapshotFile:
    """One file of a snapshot."""

    name: str
    bytes: int
    sha256: str
    rows: int | None


@dataclass(frozen=True)
class Snapshot:
    """An immutable dataset; `files` is empty until it is ready, and in lists."""

    id: str
    name: str
    ready: bool
    content_hash: str
    files: Mapping[str, SnapshotFile] = field(repr=False)
    raw: Raw = field(repr=False)


@dataclass(frozen=True)
class RewardModel:
    """One version of a project's reward model: candidate, current or retired."""

    id: str
    version: int
    state: str
    metrics: Raw
    decision: str
    raw: Raw = field(repr=False)


@dataclass(frozen=True)
class Scores:
    """Rewards in the order of the items, with the model that gave them."""

    rewards: tuple[float, ...]
    model: str
    shaping: str


@dataclass(frozen=True)
class Page(Generic[Item]):
    """A part of a list, and the query of the next one."""

    items: tuple[Item, ...]
    next: Mapping[str, str] | None


def decoded(read: Callable[[Raw], Item], raw: object) -> Item:
    """Read a JSON object; raise UnexpectedReply when it is not what this version of the client knows."""
    try:
        return read(raw)  # type: ignore[arg-type]
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise UnexpectedReply(f"The server's answer is not what this client knows ({error!r}); is it newer?") from error


def project(raw: Raw) -> Project:
    """Read a project."""
    return Project(
        slug=raw["slug"],
        name=raw["name"],
        role=raw["role"],
        guideline=raw["guideline"] or "",
        guideline_version=raw["guideline_version"],
        protocol=raw["protocol"],
        raw=raw,
    )


def job(raw: Raw) -> Job:
    """Read a job."""
    progress = raw["progress"]
    return Job(
        id=raw["id"],
        kind=raw["kind"],
        state=raw["state"],
        progress=Progress(progress["done"], progress["total"], progress["message"]),
        result=raw["result"],
        error=raw["error"],
        raw=raw,
    )


def started(raw: Raw) -> Started:
    """Read the reply to everything that starts a job."""
    return Started(raw["id"], job(raw["job"]))


def comparison(raw: Raw) -> Comparison:
    """Read a comparison."""
    agreed = raw["consensus"]
    return Comparison(
        id=raw["id"],
        external_id=raw["external_id"],
        state=raw["state"],
        annotation_count=raw["annotation_count"],
        consensus=Consensus(agreed["preference"], agreed["status"], agreed["excluded_reason"]),
        raw=raw,
    )


def annotation(raw: Raw) -> Annotation:
    """Read an annotation."""
    return Annotation(
        id=raw["id"],
        comparison=raw["comparison"],
        annotator=raw["annotator"],
        preference=raw["preference"],
        justification=raw["justification"],
        raw=raw,
    )


def snapshot(raw: Raw) -> Snapshot:
    """Read a snapshot of a list, or its manifest."""
    files = {
        name: SnapshotFile(name, entry["bytes"], entry["sha256"], entry.get("rows"))
        for name, entry in (raw.get("files") or {}).items()
    }
    return Snapshot(raw["id"], raw["name"], raw["ready"], raw["content_hash"], files, raw)


def reward_model(raw: Raw) -> RewardModel:
    """Read a reward model."""
    return RewardModel(raw["id"], raw["version"], raw["state"], raw["metrics"], raw["decision"], raw)


def scores(raw: Raw) -> Scores:
    """Read the rewards of a request."""
    return Scores(tuple(float(reward) for reward in raw["rewards"]), str(raw["model"]), str(raw["shaping"]))
