"""Rule sets, their rules, the verdicts on responses, and the extractions that proposed them."""

from typing import ClassVar

from django.conf import settings
from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from apps.core.models import Created
from apps.endpoints.models import ModelEndpoint
from apps.jobs.models import Job
from apps.labeling.models import Assignment
from apps.projects.models import Project
from apps.prompts.models import Comparison, Response
from apps.signals.models import Scorer


class Kind(models.TextChoices):
    """How it is decided whether a response satisfies a rule."""

    PROGRAMMATIC = "programmatic", _("Measured")
    LANGUAGE_MODEL = "language_model", _("Read by a language model")


class RuleSet(Created):
    """One version of a project's rules. Once it has been activated it never changes: an edit makes a new draft."""

    class State(models.TextChoices):
        DRAFT = "draft", _("Draft")
        ACTIVE = "active", _("Active")
        RETIRED = "retired", _("Retired")

    class Origin(models.TextChoices):
        MINER = "miner", _("Mined from the labels")
        LANGUAGE_MODEL = "language_model", _("Extracted by a language model")
        EDIT = "edit", _("Edited from an earlier version")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="rule_sets")
    version = models.PositiveIntegerField()
    state = models.CharField(max_length=10, choices=State.choices, default=State.DRAFT)
    origin = models.CharField(max_length=20, choices=Origin.choices)
    parent = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="children")
    options = models.JSONField(default=dict, help_text="How its rules were found; frozen when it is made.")
    figures = models.JSONField(default=dict, help_text="What was measured of the whole set; written by the worker.")
    measured_at = models.DateTimeField(null=True)
    changed_at = models.DateTimeField(
        null=True, help_text="When rules, weights, or the verdicts they are judged by last changed."
    )
    verifier = models.CharField(
        max_length=120,
        blank=True,
        help_text="Whose verdicts count for its read rules, in which version; no other's do.",
    )
    endpoint = models.ForeignKey(
        ModelEndpoint,
        on_delete=models.SET_NULL,
        null=True,
        related_name="+",
        help_text="Where the verifier is asked; null when its owner deleted it.",
    )
    scorer = models.OneToOneField(
        Scorer,
        on_delete=models.PROTECT,
        null=True,
        related_name="rule_set",
        help_text="What scores responses by it; there since it was activated.",
    )
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")
    activated_at = models.DateTimeField(null=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "version"], name="one_rule_set_per_version"),
            models.UniqueConstraint(fields=["project"], condition=Q(state="active"), name="one_active_rule_set"),
        ]

    def __str__(self) -> str:
        return f"{self.project} rules {self.version}"

    @property
    def verifier_model(self) -> str:
        """Return the name of the verifier's model, without where it is and the version of its prompts."""
        return self.verifier.rsplit(" ", 2)[0]

    @property
    def stale(self) -> bool:
        """Say whether its figures are from before its last change."""
        return bool(self.measured_at and self.changed_at and self.measured_at < self.changed_at)


class Rule(Created):
    """A sentence that a response satisfies or not: measured by a property, or read by a language model."""

    class State(models.TextChoices):
        PROPOSED = "proposed", _("Proposed")
        KEPT = "kept", _("Kept")
        REJECTED = "rejected", _("Rejected")

    rule_set = models.ForeignKey(RuleSet, on_delete=models.CASCADE, related_name="rules")
    number = models.PositiveIntegerField()
    text = models.TextField()
    kind = models.CharField(max_length=20, choices=Kind.choices)
    property = models.CharField(max_length=60, blank=True, help_text="What is measured; empty unless it is measured.")
    parameters = models.JSONField(default=dict, help_text="How the measured value decides (`worker.core.rules`).")
    statement_hash = models.CharField(max_length=64, help_text="Of what decides a verdict: equal rules share verdicts.")
    weight = models.FloatField(default=1.0, help_text="How much it counts in the score of its set.")
    state = models.CharField(max_length=10, choices=State.choices, default=State.PROPOSED)
    merged_into = models.ForeignKey("self", on_delete=models.SET_NULL, null=True, related_name="merged")
    support = models.PositiveIntegerField(default=0, help_text="Labeled pairs on which it prefers one response.")
    agreement = models.FloatField(null=True, help_text="Share of those on which people preferred it, too.")
    agreement_low = models.FloatField(null=True)
    agreement_high = models.FloatField(null=True)
    sources = models.JSONField(
        default=dict, help_text="Where it comes from: ids of `comparisons`, and the `candidates` that were merged."
    )
    figures = models.JSONField(default=dict, help_text="What was measured of it; written by the worker.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule_set", "number"], name="one_rule_per_number"),
            models.CheckConstraint(
                condition=Q(kind="programmatic") & ~Q(property="") | Q(kind="language_model", property=""),
                name="a_property_exactly_where_it_is_measured",
            ),
        ]
        indexes = [models.Index(fields=["statement_hash"], name="rules_by_statement")]

    def __str__(self) -> str:
        return self.text[:80]


class Verdict(Created):
    """What a language model said about a response and a rule; kept for every version that has the same rule.

    Measured rules have none: their verdicts are cheaper to compute than to look up.
    """

    class Value(models.TextChoices):
        YES = "yes", _("Yes")
        NO = "no", _("No")
        NOT_APPLICABLE = "not_applicable", _("Not applicable")
        UNREADABLE = "unreadable", _("Unreadable")

    response = models.ForeignKey(Response, on_delete=models.CASCADE, related_name="verdicts", db_index=False)
    statement_hash = models.CharField(max_length=64)
    verifier = models.CharField(max_length=120, help_text="Who decided, in which version.")
    repetition = models.PositiveSmallIntegerField(default=0, help_text="From 1 where the question was asked again.")
    value = models.CharField(max_length=15, choices=Value.choices)

    class Meta:
        constraints = [
            models.UniqueConstraint(
                fields=["response", "statement_hash", "verifier", "repetition"], name="one_verdict_per_question"
            )
        ]
        indexes = [models.Index(fields=["statement_hash", "verifier"], name="verdicts_by_statement")]

    def __str__(self) -> str:
        return f"{self.response_id}: {self.value}"


class RuleExtraction(Created):
    """One run of the miner or of the language-model pipeline, its job, and the rule set that came out."""

    class Stage(models.TextChoices):
        SELECT = "select", _("Choosing comparisons")
        INTERPRET = "interpret", _("Interpreting choices")
        CANDIDATES = "candidates", _("Proposing rules")
        MERGE = "merge", _("Merging")
        MINE = "mine", _("Measuring and selecting")
        DONE = "done", _("Done")

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="rule_extractions")
    origin = models.CharField(max_length=20, choices=RuleSet.Origin.choices)
    options = models.JSONField(default=dict, help_text="What was asked for; frozen when it is made.")
    seed = models.PositiveIntegerField(default=0)
    job = models.OneToOneField(Job, on_delete=models.PROTECT, related_name="rule_extraction")
    labels = models.JSONField(
        default=list, help_text="What people preferred when it began: pairs of a comparison's id and a preference."
    )
    stage = models.CharField(max_length=10, choices=Stage.choices, default=Stage.SELECT)
    counts = models.JSONField(default=dict, help_text="How many of what there were: pairs, candidates, failures.")
    rule_set = models.OneToOneField(RuleSet, on_delete=models.SET_NULL, null=True, related_name="extraction")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    class Meta:
        indexes = [models.Index(fields=["project", "-id"], name="extractions_of_a_project")]

    def __str__(self) -> str:
        return f"rule extraction {self.pk}"


class ExtractionItem(models.Model):
    """What a language model made of one comparison; every step is kept, so that a run goes on where it stopped."""

    extraction = models.ForeignKey(RuleExtraction, on_delete=models.CASCADE, related_name="items", db_index=False)
    comparison = models.ForeignKey(Comparison, on_delete=models.CASCADE, related_name="+")
    number = models.PositiveIntegerField(default=0, help_text="Its place in the selection.")
    swapped = models.BooleanField(default=False, help_text="The model was shown response 2 first, under the label 1.")
    reasoning = models.TextField(blank=True)
    answer = models.TextField(blank=True)
    read_from = models.CharField(max_length=10, blank=True, help_text="What candidates were read from.")
    asked = models.JSONField(
        null=True,
        help_text="What was said of the pair when it was asked about, as shown: `swapped`, `preference`, `reasons`.",
    )
    candidates = models.JSONField(null=True, help_text="Texts of the rules; null until there are any.")
    error = models.TextField(blank=True)
    attempts = models.PositiveSmallIntegerField(default=0, help_text="Calls that were made for it.")
    rounds = models.PositiveSmallIntegerField(default=0, help_text="How often its stage has tried it in vain.")

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["extraction", "comparison"], name="one_item_per_extraction_and_comparison")
        ]

    def __str__(self) -> str:
        return f"{self.comparison_id} in {self.extraction_id}"


class ExtractionMerge(models.Model):
    """One merge of a group of candidates, or of what earlier merges left; kept like every step of an extraction.

    `inputs` and `rules` are lists of `{"text", "comparisons", "candidates"}`; where the merge failed, `rules` is null
    and its inputs went on as they were.
    """

    extraction = models.ForeignKey(RuleExtraction, on_delete=models.CASCADE, related_name="merges", db_index=False)
    level = models.PositiveSmallIntegerField()
    number = models.PositiveIntegerField()
    inputs = models.JSONField(default=list)
    rules = models.JSONField(null=True)
    left_out = models.PositiveIntegerField(default=0, help_text="Inputs for which none of its rules stands.")
    error = models.TextField(blank=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["extraction", "level", "number"], name="one_merge_per_group_and_level")
        ]

    def __str__(self) -> str:
        return f"merge {self.level}.{self.number} of {self.extraction_id}"


class RuleObjection(Created):
    """An annotator, who was shown the rules after submitting, says that one is wrong about a pair."""

    rule = models.ForeignKey(Rule, on_delete=models.CASCADE, related_name="objections")
    assignment = models.ForeignKey(Assignment, on_delete=models.CASCADE, related_name="rule_objections")
    note = models.CharField(max_length=1000, blank=True)

    objects: ClassVar[models.Manager["RuleObjection"]] = models.Manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["rule", "assignment"], name="one_objection_per_rule_and_assignment")
        ]

    def __str__(self) -> str:
        return f"{self.assignment_id} against {self.rule_id}"
