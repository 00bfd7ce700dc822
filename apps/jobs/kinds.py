"""Every kind of long work: the Celery task that does it, the queue it waits in, and its name for people."""

from dataclasses import dataclass

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _


@dataclass(frozen=True)
class Kind:
    """Where a kind of job runs."""

    task: str
    queue: str
    label: str | Promise


CPU, GPU = "cpu", "gpu"
QUEUES = (CPU, GPU)

KINDS = {
    "import": Kind("tiebreak.import_pairs", CPU, _("Import")),
    "snapshot": Kind("tiebreak.build_snapshot", CPU, _("Snapshot")),
    "scoring": Kind("tiebreak.score_responses", GPU, _("Scoring")),
    "training": Kind("tiebreak.train_reward_model", GPU, _("Training")),
}
