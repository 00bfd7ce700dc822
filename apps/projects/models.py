"""A project, its guideline versions, its members and its audit log."""

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.core.validators import MaxValueValidator, MinValueValidator, RegexValidator
from django.db import models
from django.utils.translation import gettext_lazy as _

from apps.core.models import Created
from apps.projects.protocol import Protocol, parse_protocol


class Project(Created):
    """One labeling effort: its pairs, people, protocol and models."""

    class QueueOrder(models.TextChoices):
        UNCERTAIN = "uncertain", _("Pairs the reward model is least sure about first")
        RULES = "rules", _("Pairs on which rules and reward model disagree first")
        IMPORTED = "imported", _("In the order of import")

    slug = models.CharField(
        max_length=60,
        unique=True,
        validators=[RegexValidator(r"^[a-z0-9][a-z0-9-]*\Z", _("Use small letters, digits and hyphens."))],
    )
    name = models.CharField(max_length=120)
    notice = models.TextField(
        blank=True, help_text="Shown on every page of the project, such as where its pairs come from."
    )
    protocol_settings = models.JSONField(default=dict, blank=True, help_text="What differs from the default protocol.")
    queue_order = models.CharField(max_length=10, choices=QueueOrder.choices, default=QueueOrder.UNCERTAIN)
    random_share = models.FloatField(
        default=0.2,
        validators=[MinValueValidator(0.0), MaxValueValidator(1.0)],
        help_text=_(
            "Part of the queue that is drawn at random, so that the labels stay usable for unbiased estimates."
        ),
    )
    shows_rules = models.BooleanField(
        default=False, help_text="Annotators may see which rules spoke for and against a pair they have submitted."
    )
    webhook_events = ArrayField(
        models.CharField(max_length=40),
        default=list,
        blank=True,
        editable=False,
        help_text="What its webhooks subscribe to; kept here so that an event that nobody hears costs no query.",
    )

    def __str__(self) -> str:
        return self.name

    @property
    def protocol(self) -> Protocol:
        """Return the protocol with defaults filled in."""
        return parse_protocol(self.protocol_settings)

    def current_guideline(self) -> "GuidelineVersion":
        """Return the newest guideline version (one query). Every project has one from its creation."""
        return self.guideline_versions.latest("number")


class GuidelineVersion(Created):
    """One immutable text of the guideline; every annotation names the version that its author saw."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="guideline_versions")
    number = models.PositiveIntegerField()
    text = models.TextField(blank=True)
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "number"], name="one_guideline_per_number")]

    def __str__(self) -> str:
        return f"{self.project} guideline {self.number}"


class Membership(Created):
    """What one person may do in one project."""

    class Role(models.TextChoices):
        MANAGER = "manager", _("Manager")
        REVIEWER = "reviewer", _("Reviewer")
        ANNOTATOR = "annotator", _("Annotator")
        RESEARCHER = "researcher", _("Researcher")

    IN_A_SENTENCE = {
        Role.MANAGER: _("manager"),
        Role.REVIEWER: _("reviewer"),
        Role.ANNOTATOR: _("annotator"),
        Role.RESEARCHER: _("researcher"),
    }

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="memberships")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=12, choices=Role.choices)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "user"], name="one_membership_per_person")]

    def __str__(self) -> str:
        return f"{self.user}: {self.role} of {self.project}"

    @property
    def role_in_a_sentence(self) -> str:
        """Return the role as a word in the middle of a sentence; not every language writes it small there."""
        return str(self.IN_A_SENTENCE[self.Role(self.role)])


class AuditEvent(Created):
    """Who did what in a project; rows are only added."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="audit_events")
    actor = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    verb = models.CharField(max_length=60)
    detail = models.JSONField(default=dict)

    class Meta:
        indexes = [models.Index(fields=["project", "-created_at"], name="audit_by_time")]

    def __str__(self) -> str:
        return f"{self.actor} {self.verb}"
