"""Every kind of long work: the Celery task that does it, the queue it waits in, and its name for people."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Kind:
    """Where a kind of job runs."""

    task: str
    queue: str
    label: str


CPU, GPU = "cpu", "gpu"
QUEUES = (CPU, GPU)

KINDS = {
    "import": Kind("tiebreak.import_pairs", CPU, "Import"),
    "snapshot": Kind("tiebreak.build_snapshot", CPU, "Snapshot"),
    "scoring": Kind("tiebreak.score_responses", GPU, "Scoring"),
    "training": Kind("tiebreak.train_reward_model", GPU, "Training"),
}
