"""Queue items, cohorts, assignments, drafts, annotations, workloads and consensus."""

from datetime import date
from typing import ClassVar

from django.conf import settings
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.db.models import ExpressionWrapper, F, Q
from django.db.models.functions import Coalesce
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.models import Created
from apps.projects.models import GuidelineVersion, Project
from apps.prompts.models import Comparison
from worker.core.consensus import Status


class Cohort(Created):
    """Named people to whom a batch of comparisons is assigned: nobody else gets those, and they get those first."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="cohorts")
    name = models.CharField(max_length=80)
    members = models.ManyToManyField(settings.AUTH_USER_MODEL, related_name="cohorts")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "name"], name="one_cohort_per_name")]

    def __str__(self) -> str:
        return self.name


class QueueItem(models.Model):
    """How many annotators a comparison asks for and has. A narrow row, since every lease writes it.

    `taken` counts live leases plus annotations; the check constraint makes "never more than wanted" the database's.
    `had` lists everybody who was ever leased it, in ascending order: the queue steps over all items of one such group
    at once (`apps.labeling.queue`). Imported annotators and control items leave it empty: nobody else pulls for them.
    """

    class State(models.TextChoices):
        OPEN = "open", _("Open")
        COMPLETE = "complete", _("Complete")
        CLOSED = "closed", _("Closed")
        CONTROL = "control", _("Control item")

    comparison = models.OneToOneField(Comparison, on_delete=models.CASCADE, primary_key=True, related_name="queue_item")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="queue_items", db_index=False)
    cohort = models.ForeignKey(Cohort, on_delete=models.SET_NULL, null=True, related_name="queue_items", db_index=False)
    state = models.CharField(max_length=10, choices=State.choices, default=State.OPEN)
    wanted = models.PositiveSmallIntegerField()
    taken = models.PositiveSmallIntegerField(default=0)
    had = ArrayField(models.BigIntegerField(), default=list)
    priority = models.FloatField(default=0.0, help_text="Higher goes first. A level that many pairs share.")
    shuffle_key = models.FloatField(
        help_text="Place in the project's shuffled order, for the random share of the queue."
    )
    closed_reason = models.CharField(max_length=200, blank=True)
    closed_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.CheckConstraint(condition=Q(taken__lte=F("wanted")), name="never_more_annotators_than_wanted"),
        ]
        # All keys ascend, so that one comparison of rows finds the next group: the highest priority is the lowest rank.
        indexes = [
            models.Index(
                "project",
                Coalesce("cohort", 0),
                -F("priority"),
                ExpressionWrapper(Q(taken=0), output_field=models.BooleanField()),
                "had",
                "comparison",
                condition=Q(state="open", taken__lt=F("wanted")),
                name="queue_in_order",
            ),
            models.Index(
                "project",
                Coalesce("cohort", 0),
                "had",
                "shuffle_key",
                condition=Q(state="open", taken__lt=F("wanted")),
                name="queue_shuffled_by_group",
            ),
            models.Index(fields=["project", "state"], name="queue_by_state"),
            models.Index(
                fields=["project", "wanted", "comparison"],
                condition=Q(state="open", taken=0),
                name="queue_untouched",
            ),
            models.Index(fields=["cohort"], condition=Q(cohort__isnull=False), name="queue_by_cohort"),
            models.Index(fields=["project", "-closed_at"], condition=Q(state="closed"), name="closed_by_time"),
        ]

    def __str__(self) -> str:
        return f"{self.comparison_id}: {self.taken} of {self.wanted}"


class Workload(models.Model):
    """What one person has done in one project: the row that leasing locks, so that limits per person are exact."""

    pools: list[int]
    newest: GuidelineVersion
    """Where the person draws from (ids of cohorts, 0 for everybody), under which guideline; set by `lock_workload`."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="workloads")
    annotator = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="workloads")
    submitted = models.PositiveIntegerField(default=0)
    skipped = models.PositiveIntegerField(default=0)
    last_day = models.DateField(null=True, help_text="The day (UTC) that `submitted_on_last_day` counts.")
    submitted_on_last_day = models.PositiveIntegerField(default=0)
    guideline_seen = models.ForeignKey(GuidelineVersion, on_delete=models.PROTECT, null=True, related_name="+")

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "annotator"], name="one_workload_per_person")]

    def __str__(self) -> str:
        return f"{self.annotator_id} in {self.project_id}: {self.submitted}"

    def submitted_on(self, day: date) -> int:
        """Return how many annotations were submitted on this day, today or a later one than any counted so far."""
        return self.submitted_on_last_day if self.last_day == day else 0


class AssignmentQuerySet(models.QuerySet["Assignment"]):
    """Ways to pick assignments."""

    def live(self) -> "AssignmentQuerySet":
        """Return leases that hold a slot."""
        return self.filter(state=Assignment.State.LEASED)

    def overdue(self) -> "AssignmentQuerySet":
        """Return leases whose time is over."""
        return self.live().filter(lease_expires_at__lt=timezone.now())


class Assignment(Created):
    """A lease of a comparison to an annotator: one row per pair of them, ever.

    The exception is a repeat: the same pair once more, to see whether a person agrees with themselves. It takes no slot
    and its annotation counts for nothing else.
    """

    class State(models.TextChoices):
        LEASED = "leased", _("Leased")
        SUBMITTED = "submitted", _("Submitted")
        SKIPPED = "skipped", _("Skipped")
        EXPIRED = "expired", _("Expired")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="assignments")
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="assignments")
    annotator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="assignments", db_index=False
    )
    state = models.CharField(max_length=10, choices=State.choices, default=State.LEASED)
    swapped = models.BooleanField(help_text="The annotator sees response 2 first, under the label 1.")
    drawn = models.CharField(
        max_length=10, help_text="How the queue chose it: priority, random, control, repeat or imported."
    )
    propensity = models.FloatField(
        null=True, help_text="The probability with which the queue handed out this pair at that moment, where known."
    )
    ahead = models.BooleanField(default=False, help_text="Leased for the moment after this one, and not seen yet.")
    repeat_of = models.ForeignKey("self", on_delete=models.CASCADE, null=True, related_name="repeats", db_index=False)
    guideline_version = models.ForeignKey(GuidelineVersion, on_delete=models.PROTECT, related_name="+")
    lease_expires_at = models.DateTimeField()
    reopened_until = models.DateTimeField(null=True, help_text="Until when a submitted answer may be changed.")
    skip_reason = models.CharField(max_length=20, blank=True, help_text="A name from the protocol's skip reasons.")
    skip_note = models.CharField(max_length=1000, blank=True)
    flagged_at = models.DateTimeField(null=True, help_text="When this person said that nobody should label the pair.")
    import_number = models.BigIntegerField(
        null=True, help_text="The id of the import that brought it; no key, since imports are an app above."
    )

    objects: ClassVar[models.Manager["Assignment"]] = AssignmentQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["comparison", "annotator"],
                condition=Q(repeat_of=None),
                name="one_assignment_per_person_and_pair",
            ),
            models.UniqueConstraint(
                fields=["repeat_of"], condition=Q(repeat_of__isnull=False), name="one_repeat_per_assignment"
            ),
        ]
        indexes = [
            models.Index(fields=["lease_expires_at"], condition=Q(state="leased"), name="leases_by_expiry"),
            models.Index(fields=["annotator", "project", "state", "id"], name="assignments_of_a_person"),
            models.Index(
                fields=["project", "-flagged_at"], condition=Q(flagged_at__isnull=False), name="flags_by_time"
            ),
            models.Index(fields=["project"], condition=Q(state="leased", ahead=True), name="leases_ahead"),
            models.Index(
                fields=["project", "-id"], condition=Q(state="skipped") & ~Q(skip_note=""), name="notes_by_time"
            ),
        ]

    def __str__(self) -> str:
        return f"{self.comparison_id} for {self.annotator_id}"

    @property
    def shown_order(self) -> list[int]:
        """Return the canonical numbers of the responses in the order shown."""
        return [2, 1] if self.swapped else [1, 2]

    @property
    def is_reopened(self) -> bool:
        """Say whether a submitted answer is being changed just now."""
        return self.reopened_until is not None and self.reopened_until > timezone.now()


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
        """Return the newest revision of each, without repeats: what counts."""
        return self.filter(is_current=True, is_repeat=False)


class Annotation(models.Model):
    """What an annotator submitted, in canonical order. Rows are only added: a change is a new revision."""

    assignment = models.ForeignKey(Assignment, on_delete=models.CASCADE, related_name="annotations", db_index=False)
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="annotations", db_index=False)
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="annotations")
    annotator = models.ForeignKey(
        settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="annotations", db_index=False
    )
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
    stated_guideline_version = models.PositiveIntegerField(
        null=True, help_text="Of an imported label: the version of the guideline, where it was given, as its file says."
    )
    is_repeat = models.BooleanField(default=False, help_text="Of a pair that this person has labeled before.")
    problems_1 = models.JSONField(default=list)
    problems_2 = models.JSONField(default=list)
    unsafe = models.BooleanField(default=False, help_text="One of the two responses was marked as unsafe.")
    confidence = models.PositiveSmallIntegerField(null=True, help_text="From 1, least sure.")
    active_seconds = models.PositiveIntegerField(null=True)
    pasted_characters = models.PositiveIntegerField(null=True)
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
                condition=Q(is_current=True, is_repeat=False),
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
        indexes = [
            models.Index(fields=["project", "id"], name="annotations_of_a_project"),
            models.Index(fields=["annotator", "project", "submitted_at"], name="annotations_of_a_person"),
            models.Index(fields=["project", "-submitted_at"], condition=Q(unsafe=True), name="unsafe_by_time"),
        ]

    def __str__(self) -> str:
        return f"annotation {self.pk}"

    @property
    def paste_share(self) -> float | None:
        """Return which part of the justification was pasted, 0 to 1; None where nobody counted."""
        if self.pasted_characters is None:
            return None
        return min(1.0, self.pasted_characters / max(1, len(self.justification)))

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

    WORDS = {
        Status.PENDING: _("Pending"),
        Status.ESCALATED: _("Escalated"),
        Status.AGREED: _("Agreed"),
        Status.NEITHER: _("Neither"),
        Status.EXCLUDED: _("Excluded"),
    }

    comparison = models.OneToOneField(Comparison, on_delete=models.CASCADE, primary_key=True, related_name="consensus")
    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="consensuses", db_index=False)
    status = models.CharField(max_length=10, choices=[(status.value, words) for status, words in WORDS.items()])
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
