"""What a webhook can tell, by the name that its messages carry."""

from django.utils.translation import gettext_lazy as _

ANNOTATION_SUBMITTED = "annotation.submitted"
CONSENSUS_REACHED = "consensus.reached"
IMPORT_FINISHED = "import.finished"
SNAPSHOT_READY = "snapshot.ready"
MODEL_REGISTERED = "model.registered"
MODEL_PROMOTED = "model.promoted"
JOB_FAILED = "job.failed"

EVENTS = {
    ANNOTATION_SUBMITTED: _("Somebody submitted an answer"),
    CONSENSUS_REACHED: _("A comparison is settled"),
    IMPORT_FINISHED: _("An import has finished"),
    SNAPSHOT_READY: _("A snapshot can be downloaded"),
    MODEL_REGISTERED: _("A reward model was trained"),
    MODEL_PROMOTED: _("A reward model became the current one"),
    JOB_FAILED: _("A job has failed"),
}
CHOICES = list(EVENTS.items())
TEST = "webhook.test"
"""What the button "Send a test" sends; nobody subscribes to it."""
