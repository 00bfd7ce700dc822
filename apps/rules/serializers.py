"""JSON of rule sets, rules and extractions."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.core.serializers import ObjectField, StrictSerializer, TextField
from apps.jobs.serializers import JobSerializer
from apps.rules.extraction import MAX_COMPARISONS
from apps.rules.models import Kind, Rule, RuleExtraction, RuleSet
from apps.rules.spoken import OBJECTIONS_SHOWN, objections_to
from apps.rules.verification import MAX_REPETITIONS
from worker.core.rule_prompts import SOURCES
from worker.core.rules.rewards import MAX_WEIGHT

MINERS = ("programmatic",)


class RuleAgreementSerializer(serializers.Serializer[Any]):
    """How often people preferred the response that a rule prefers; null where nothing was measured yet."""

    value = serializers.FloatField()
    interval = serializers.ListField(child=serializers.FloatField(), min_length=2, max_length=2, allow_null=True)


class RuleSerializer(serializers.Serializer[Any]):
    """A rule of a set."""

    id = serializers.CharField()
    rule_set = serializers.CharField(source="rule_set_id")
    number = serializers.IntegerField(help_text="The same in every version made from this one.")
    text = serializers.CharField()
    kind = serializers.ChoiceField(choices=Kind.choices)
    property = serializers.CharField(allow_blank=True, help_text="What is measured; empty for a language model's rule.")
    parameters = ObjectField(help_text="Of a measured rule: `wants`, `threshold`, `relative`.")
    weight = serializers.FloatField(help_text="How much it counts in the score of its set.")
    state = serializers.ChoiceField(choices=Rule.State.choices)
    merged_into = serializers.SerializerMethodField(help_text="Number of the rule that stands for this one, or null.")
    support = serializers.IntegerField(
        help_text="Labeled pairs on which it prefers one response, among those it was not found on."
    )
    agreement = serializers.SerializerMethodField(help_text="With people, on those pairs.")
    sources = ObjectField(help_text="Where it comes from: `comparisons` and `candidates`.")

    @extend_schema_field(serializers.IntegerField(allow_null=True))
    def get_merged_into(self, rule: Rule) -> int | None:
        """Return the number of the rule it was merged into."""
        return rule.merged_into.number if rule.merged_into else None

    @extend_schema_field(RuleAgreementSerializer(allow_null=True))
    def get_agreement(self, rule: Rule) -> dict[str, Any] | None:
        """Return the share with its interval."""
        if rule.agreement is None:
            return None
        interval = None if rule.agreement_low is None else [rule.agreement_low, rule.agreement_high]
        return {"value": rule.agreement, "interval": interval}


class RuleObjectionSerializer(serializers.Serializer[Any]):
    """What an annotator says against a rule."""

    comparison = serializers.CharField(source="assignment.comparison_id")
    note = serializers.CharField(allow_blank=True)
    created_at = serializers.DateTimeField()


class RuleObjectionsSerializer(serializers.Serializer[Any]):
    """How often annotators called a statement wrong, in whatever version, with the newest of what they say."""

    count = serializers.IntegerField()
    newest = RuleObjectionSerializer(many=True, help_text=f"At most {OBJECTIONS_SHOWN}.")


class RuleDetailSerializer(RuleSerializer):
    """One rule with what was measured of it."""

    figures = ObjectField(help_text="By domain, over time, overlap with the others, examples: docs/rules.md.")
    objections = serializers.SerializerMethodField()

    @extend_schema_field(RuleObjectionsSerializer)
    def get_objections(self, rule: Rule) -> Any:
        """Return what annotators say against the rule (two queries)."""
        rows = objections_to(rule).select_related("assignment")
        return RuleObjectionsSerializer({"count": rows.count(), "newest": rows[:OBJECTIONS_SHOWN]}).data


class RuleChangesSerializer(StrictSerializer):
    """What to change of a rule."""

    text = TextField(required=False, max_length=1000, help_text="Of a rule that a language model reads.")
    parameters = ObjectField(required=False, help_text="Of a measured rule; what is left out stays.")
    weight = serializers.FloatField(required=False, min_value=0.0, max_value=1000.0)
    state = serializers.ChoiceField(choices=Rule.State.choices, required=False)
    merged_into = serializers.IntegerField(
        required=False, min_value=1, max_value=2**31 - 1, help_text="Number of the rule that shall stand for both."
    )


class RuleSetSerializer(serializers.Serializer[RuleSet]):
    """A version of a project's rules, in a list."""

    id = serializers.CharField()
    version = serializers.IntegerField()
    state = serializers.ChoiceField(choices=RuleSet.State.choices)
    origin = serializers.ChoiceField(choices=RuleSet.Origin.choices)
    parent = serializers.CharField(source="parent_id", allow_null=True)  # type: ignore[assignment]
    scorer = serializers.CharField(source="scorer_id", allow_null=True)
    verifier = serializers.CharField(
        allow_blank=True, help_text="Whose verdicts count for its read rules: model, address as a hash, prompts."
    )
    created_at = serializers.DateTimeField()
    activated_at = serializers.DateTimeField(allow_null=True)
    measured_at = serializers.DateTimeField(allow_null=True)
    stale = serializers.BooleanField(help_text="Whether its figures are from before its last change.")


class RuleSetDetailSerializer(RuleSetSerializer):
    """A version with its rules."""

    options = ObjectField(help_text="How its rules were found.")
    figures = ObjectField(help_text="Of the whole set: docs/rules.md.")
    rules = serializers.SerializerMethodField()

    @extend_schema_field(RuleSerializer(many=True))
    def get_rules(self, rule_set: RuleSet) -> Any:
        """Return the rules in their order."""
        rules = rule_set.rules.select_related("merged_into").defer("figures").order_by("number")
        return RuleSerializer(list(rules), many=True).data


class RuleExtractionSerializer(serializers.Serializer[RuleExtraction]):
    """A run that looked for rules."""

    id = serializers.CharField()
    origin = serializers.ChoiceField(choices=RuleSet.Origin.choices)
    options = ObjectField()
    seed = serializers.IntegerField()
    stage = serializers.ChoiceField(choices=RuleExtraction.Stage.choices)
    counts = ObjectField(help_text="Pairs, candidates, failures.")
    rule_set = serializers.CharField(source="rule_set_id", allow_null=True)
    created_at = serializers.DateTimeField()
    job = JobSerializer()


def _reward(most: float, said: str) -> serializers.FloatField:
    return serializers.FloatField(required=False, min_value=0.0, max_value=most, help_text=said)


class NewRuleExtractionSerializer(StrictSerializer):
    """Where to look for rules: `miner` measures what the labels show; `endpoint` is a language model of yours."""

    miner = serializers.ChoiceField(choices=MINERS, required=False)
    endpoint = TextField(required=False, max_length=20, help_text="Id of a model endpoint of yours.")
    seed = serializers.IntegerField(required=False, min_value=0, max_value=2**31 - 1, default=0)
    comparisons = serializers.IntegerField(
        required=False, min_value=1, max_value=MAX_COMPARISONS, help_text="How many are read (256); for `endpoint`."
    )
    strength = serializers.IntegerField(
        required=False, min_value=1, max_value=3, help_text="Only preferences at least this strong; for `endpoint`."
    )
    max_spread = serializers.IntegerField(
        required=False, min_value=0, max_value=6, allow_null=True, help_text="How far annotators may lie apart."
    )
    domain = TextField(required=False, allow_blank=True, max_length=200, help_text="`domain` of the metadata.")
    disagreements = serializers.BooleanField(
        required=False, help_text="Only where the model that orders the queue prefers the other response."
    )
    source: Any = serializers.ChoiceField(
        choices=SOURCES,
        required=False,
        help_text="What rules are read from: `reasoning` (as in the paper) or `answer`.",
    )

    not_applicable_is_yes = serializers.BooleanField(
        required=False, help_text="Whether a rule that does not apply counts as satisfied (true, as in the paper)."
    )
    reward_weight = _reward(MAX_WEIGHT, "The rule reward is weight · (fraction − offset): its weight (10).")
    reward_offset = _reward(1.0, "The fraction from which on rules add to the reward (0.75).")

    def validate(self, attrs: dict[str, Any]) -> dict[str, Any]:
        """Ask for one way to look, and refuse what only the other one has."""
        if ("miner" in attrs) == ("endpoint" in attrs):
            detail = f"Name either a miner ({', '.join(MINERS)}) or an endpoint."
            raise serializers.ValidationError({"miner": detail, "endpoint": detail})
        others = sorted(set(attrs) - {"miner", "seed"}) if "miner" in attrs else []
        if others:
            raise serializers.ValidationError(dict.fromkeys(others, "The miner has no such setting."))
        return attrs


class AskedAboutSerializer(serializers.Serializer[Any]):
    """How a model was shown a pair: which side was its response 1, whom people prefer, and why."""

    swapped = serializers.BooleanField(help_text="Whether it saw response 2 first, under the label 1.")
    preference = serializers.IntegerField(help_text="As it was told, −3 to 3: negative for the one that it saw as 1.")
    reasons = serializers.ListField(child=serializers.CharField(), help_text="What annotators wrote, as it was shown.")


class ExtractionItemSerializer(serializers.Serializer[Any]):
    """One comparison of an extraction, and what the model made of it."""

    id = serializers.CharField()
    number = serializers.IntegerField(help_text="Its place in the selection.")
    comparison = serializers.CharField(source="comparison_id")
    external_id = serializers.CharField(source="comparison.external_id")
    asked = AskedAboutSerializer(allow_null=True, help_text="Null before it was asked.")
    reasoning = serializers.CharField(allow_blank=True)
    answer = serializers.CharField(allow_blank=True)
    read_from = serializers.CharField(allow_blank=True, help_text="What candidates were read from.")
    candidates = serializers.ListField(child=serializers.CharField(), allow_null=True)
    error = serializers.CharField(allow_blank=True)
    attempts = serializers.IntegerField(help_text="Calls that were made for it.")


class MergedEntrySerializer(serializers.Serializer[Any]):
    """A sentence with the comparisons it comes from, and the candidates it stands for."""

    text = serializers.CharField()
    comparisons = serializers.ListField(child=serializers.IntegerField())
    candidates = serializers.ListField(child=serializers.CharField())


class ExtractionMergeSerializer(serializers.Serializer[Any]):
    """One merge: what went in, and what came out."""

    id = serializers.CharField()
    level = serializers.IntegerField()
    number = serializers.IntegerField()
    inputs = MergedEntrySerializer(many=True)
    rules = MergedEntrySerializer(many=True, allow_null=True, help_text="Null where the merge failed.")
    left_out = serializers.IntegerField(help_text="Inputs for which none of its rules stands.")
    error = serializers.CharField(allow_blank=True)


class RuleSetActivationSerializer(StrictSerializer):
    """What an active version needs to know; weight and offset only before it is active for the first time."""

    endpoint = TextField(
        required=False,
        max_length=20,
        help_text="Id of a model endpoint of yours that checks responses, now and as they come; needed for rules "
        "that a language model reads, unless the version has been checked with one.",
    )
    reward_weight = _reward(MAX_WEIGHT, "The rule reward is weight · (fraction − offset): its weight (10).")
    reward_offset = _reward(1.0, "The fraction from which on rules add to the reward (0.75).")


class NewVerificationSerializer(StrictSerializer):
    """With which model to check responses against a set's rules."""

    endpoint = TextField(max_length=20, help_text="Id of a model endpoint of yours.")
    repetitions = serializers.IntegerField(
        required=False, default=1, min_value=1, max_value=MAX_REPETITIONS, help_text="How often each question is asked."
    )
