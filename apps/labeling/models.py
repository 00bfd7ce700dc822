"""Queue items, assignments, drafts, annotations and consensus."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import F, Q
from django.utils import timezone

from apps.core.models import Created
from apps.projects.models import GuidelineVersion, Project
from apps.prompts.models import Comparison
from worker.core.consensus import Status


class QueueItem(models.Model):
    """How many annotators a comparison asks for and has. A narrow row, since every lease writes it.

    `taken` counts live leases plus annotations; the check constraint makes "never more than wanted" the database's.
    """

    class State(models.TextChoices):
        OPEN = "open", "Open"
        COMPLETE = "complete", "Complete"
        CLOSED = "closed", "Closed"

    comparison = models.OneToOneField(Comparison, on_delete=models.CASCADE, primary_key=True, related_name="queue_item")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="queue_items")
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    wanted = models.PositiveSmallIntegerField()
    taken = models.PositiveSmallIntegerField(default=0)
    priority = models.FloatField(default=0.0, help_text="Higher goes first.")
    shuffle_key = models.FloatField(
        help_text="Place in the project's shuffled order, for the random share of the queue."
    )

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(taken__lte=F("wanted")), name="never_more_annotators_than_wanted"),
        ]
        indexes = [
            models.Index(
                "project",
                F("priority").desc(),
                "comparison",
                condition=Q(state="open", taken__lt=F("wanted")),
                name="queue_by_priority",
            ),
            models.Index(
                "project",
                "shuffle_key",
                condition=Q(state="open", taken__lt=F("wanted")),
                name="queue_shuffled",
            ),
            models.Index(fields=["project", "state"], name="queue_by_state"),
        ]

    def __str__(self) -> str:
        return f"{self.comparison_id}: {self.taken} of {self.wanted}"


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    """Ways to pick assignments."""

    def live(self) -> "AssignmentQuerySet":
        """Return leases that hold a slot."""
        return self.filter(state=Assignment.State.LEASED)

    def overdue(self) -> "AssignmentQuerySet":
        """Return leases whose time is over."""
        return self.live().filter(lease_expires_at__lt=timezone.now())


class Assignment(Created):
    """A lease of a comparison to an annotator: one row per pair of them, ever."""

    class State(models.TextChoices):
        LEASED = "leased", "Leased"
        SUBMITTED = "submitted", "Submitted"
        SKIPPED = "skipped", "Skipped"
        EXPIRED = "expired", "Expired"

    class SkipReason(models.TextChoices):
        PII = "pii", "Contains personal data"
        LANGUAGE = "language", "In a language I do not read"
        NEEDS_EXPERTISE = "needs_expertise", "Needs expertise I do not have"
        ABOUT_ASSISTANT = "about_assistant", "About the assistant itself"
        UNSAFE = "unsafe", "Unsafe content"
        BROKEN = "broken", "Broken or unreadable"
        OTHER = "other", "Another reason"

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="assignments")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="assignments")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="assignments")
    state = models.CharField(max_length=10, choices=State.choices, default=State.LEASED)
    swapped = models.BooleanField(help_text="The annotator sees response 2 first, under the label 1.")
    drawn = models.CharField(max_length=10, help_text="How the queue chose it: priority, random or imported.")
    guideline_version = models.ForeignKey(GuidelineVersion, on_delete=models.PROTECT, related_name="+")
    lease_expires_at = models.DateTimeField()
    skip_reason = models.CharField(max_length=20, choices=SkipReason.choices, blank=True)
    skip_note = models.CharField(max_length=1000, blank=True)

    objects: ClassVar[models.Manager["Assignment"]] = AssignmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["comparison", "annotator"], name="one_assignment_per_person_and_pair"),
        ]
        indexes = [
            models.Index(fields=["lease_expires_at"], condition=Q(state="leased"), name="leases_by_expiry"),
            models.Index(fields=["annotator", "project", "state"], name="assignments_of_a_person"),
        ]

    def __str__(self) -> str:
        return f"{self.comparison_id} for {self.annotator_id}"

    @property
    def shown_order(self) -> list[int]:
        """Return the canonical numbers of the responses in the order shown."""
        return [2, 1] if self.swapped else [1, 2]


class Draft(models.Model):
    """What somebody typed and did not submit yet, as typed: any subset of an answer, values in the order shown."""

    assignment = models.OneToOneField(Assignment, on_delete=models.CASCADE, primary_key=True, related_name="draft")
    body = models.JSONField()
    updated_at = models.DateTimeField(auto_now=True)

    def __str__(self) -> str:
        return f"draft of {self.assignment_id}"


class AnnotationQuerySet(models.QuerySet["Annotation"]):
    """Ways to pick annotations."""

    def current(self) -> "AnnotationQuerySet":
        """Return the newest revision of each."""
        return self.filter(is_current=True)


class Annotation(models.Model):
    """What an annotator submitted, in canonical order. Rows are only added: a change is a new revision."""

    assignment = models.ForeignKey(Assignment, on_delete=models.CASCADE, related_name="annotations")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="annotations")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="annotations")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="annotations")
    guideline_version = models.ForeignKey(GuidelineVersion, on_delete=models.PROTECT, related_name="+")
    revision = models.PositiveSmallIntegerField(default=1)
    is_current = models.BooleanField(default=True)
    neither = models.BooleanField(default=False)
    preference = models.SmallIntegerField(null=True)
    ratings_1 = models.JSONField(default=dict)
    ratings_2 = models.JSONField(default=dict)
    justification = models.TextField(blank=True)
    swapped = models.BooleanField()
    imported = models.BooleanField(default=False)
    active_seconds = models.PositiveIntegerField(null=True)
    answer_hash = models.CharField(
        max_length=64, help_text="Of the answer as sent, so that sending it again changes nothing."
    )
    submitted_at = models.DateTimeField(default=timezone.now)

    objects: ClassVar[models.Manager["Annotation"]] = AnnotationQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["assignment", "revision"], name="one_annotation_per_revision"),
            models.UniqueConstraint(
                fields=["comparison", "annotator"],
                condition=Q(is_current=True),
                name="one_current_annotation_per_person",
            ),
            models.CheckConstraint(
                condition=Q(neither=True, preference=None)
                | Q(neither=False, preference__gte=-3, preference__lte=3, preference__isnull=False),
                name="a_preference_or_neither",
            ),
            models.CheckConstraint(
                condition=Q(imported=True) | Q(preference=None) | ~Q(preference=0), name="ties_only_from_imports"
            ),
        ]
        indexes = [models.Index(fields=["project", "id"], name="annotations_of_a_project")]

    def __str__(self) -> str:
        return f"annotation {self.pk}"

    @property
    def vote(self) -> int | None:
        """Return the preference, or None for neither valid: the form in which consensus takes it."""
        return None if self.neither else self.preference

    @property
    def shown_order(self) -> list[int]:
        """Return the canonical numbers of the responses in the order shown."""
        return [2, 1] if self.swapped else [1, 2]


class Consensus(models.Model):
    """What the annotations of a comparison add up to; recomputed with every submission (`worker.core.consensus`)."""

    comparison = models.OneToOneField(Comparison, on_delete=models.CASCADE, primary_key=True, related_name="consensus")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="consensuses")
    status = models.CharField(max_length=10, choices=[(status.value, status.value.capitalize()) for status in Status])
    preference = models.SmallIntegerField(null=True)
    excluded_reason = models.CharField(max_length=200, blank=True)
    spread = models.PositiveSmallIntegerField(null=True)
    kept = models.JSONField(default=list, help_text="Ids of the annotations that were kept, in order of submission.")
    annotation_count = models.PositiveSmallIntegerField(default=0)
    rule = models.CharField(max_length=40)
    settled_at = models.DateTimeField(null=True, help_text="When a final status was reached first.")

    class Meta:
        constraints = [
            models.CheckConstraint(
                condition=Q(status="agreed", preference__isnull=False) | (~Q(status="agreed") & Q(preference=None)),
                name="only_agreement_has_a_preference",
            ),
        ]
        indexes = [models.Index(fields=["project", "status"], name="consensus_by_status")]

    def __str__(self) -> str:
        return f"{self.comparison_id}: {self.status}"

    @property
    def outcome(self) -> int | str | None:
        """Return the preference, "neither", or None, as REST shows it."""
        return "neither" if self.status == Status.NEITHER else self.preference
