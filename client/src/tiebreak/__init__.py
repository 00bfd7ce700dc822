"""A client of Tiebreak: pairs in, datasets and rewards out."""

from tiebreak.async_client import AsyncTiebreak
from tiebreak.client import Tiebreak
from tiebreak.errors import (
    ApiError,
    Conflict,
    DownloadDamaged,
    InvalidInput,
    JobFailed,
    NetworkError,
    NotAllowed,
    NotFound,
    NotSignedIn,
    ServerError,
    TiebreakError,
    TimedOut,
    TooManyRequests,
    UnexpectedReply,
)
from tiebreak.exchange import Retries
from tiebreak.results import Annotation, Comparison, Job, Project, RewardModel, Scores, Snapshot, Started

__all__ = [
    "Annotation",
    "ApiError",
    "AsyncTiebreak",
    "Comparison",
    "Conflict",
    "DownloadDamaged",
    "InvalidInput",
    "Job",
    "JobFailed",
    "NetworkError",
    "NotAllowed",
    "NotFound",
    "NotSignedIn",
    "Project",
    "Retries",
    "RewardModel",
    "Scores",
    "ServerError",
    "Snapshot",
    "Started",
    "Tiebreak",
    "TiebreakError",
    "TimedOut",
    "TooManyRequests",
    "UnexpectedReply",
]
