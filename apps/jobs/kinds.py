"""Every kind of long work: the Celery task that does it, the queue it waits in, and its name for people."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.functional import Promise
from django.utils.translation import gettext_lazy as _

from apps.webhooks.events import IMPORT_FINISHED, SNAPSHOT_READY


@dataclass(frozen=True)
class Kind:
    """Where a kind of job runs."""

    task: str
    queue: str
    label: str | Promise
    finished: str = ""
    """The event that webhooks tell when such a job succeeds, if there is one."""
    besides: frozenset[str] = frozenset()
    """Inputs that mark a job of this kind which does something else, whose success is not that event."""

    def event_of(self, inputs: Mapping[str, Any]) -> str:
        """Return the event that the success of a job with these inputs is, or nothing."""
        return self.finished if self.besides.isdisjoint(inputs) else ""


CPU, GPU = "cpu", "gpu"
QUEUES = (CPU, GPU)

KINDS = {
    "import": Kind("tiebreak.import_pairs", CPU, _("Import"), IMPORT_FINISHED, frozenset({"preview", "undo"})),
    "snapshot": Kind("tiebreak.build_snapshot", CPU, _("Snapshot"), SNAPSHOT_READY),
    "scoring": Kind("tiebreak.score_responses", GPU, _("Scoring")),
    "training": Kind("tiebreak.train_reward_model", GPU, _("Training")),
    "recipe_search": Kind("tiebreak.search_recipe", GPU, _("Recipe search")),
    "evaluation": Kind("tiebreak.evaluate_reward_model", GPU, _("Evaluation")),
    "rule_extraction": Kind("tiebreak.extract_rules", CPU, _("Rule extraction")),
    "rule_reading": Kind("tiebreak.read_rules", CPU, _("Rule extraction with a language model")),
    "local_rule_reading": Kind("tiebreak.read_rules_here", GPU, _("Rule extraction with a local model")),
    "verification": Kind("tiebreak.verify_responses", CPU, _("Verification by rules")),
    "local_verification": Kind("tiebreak.verify_responses_here", GPU, _("Verification by rules with a local model")),
    "rule_figures": Kind("tiebreak.measure_rules", CPU, _("Figures of rules")),
}
