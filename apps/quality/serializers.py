"""JSON of a project's quality report; null stands where the labels do not define a figure."""

from typing import Any

from rest_framework import serializers

from worker.core.consensus import Status


class IntervalField(serializers.ListField):
    """The two ends of a 95 % interval."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("help_text", "Low and high end of the 95 % interval.")
        super().__init__(
            child=serializers.FloatField(), min_length=2, max_length=2, allow_null=True, read_only=True, **options
        )


class EstimateSerializer(serializers.Serializer[Any]):
    """A figure; its interval comes from resampling whole comparisons."""

    value = serializers.FloatField(allow_null=True)
    interval = IntervalField()


class ShareSerializer(serializers.Serializer[Any]):
    """So many of so many."""

    count = serializers.IntegerField()
    of = serializers.IntegerField()
    share = serializers.FloatField(allow_null=True)
    interval = IntervalField()


class StatusCountsSerializer(serializers.Serializer[Any]):
    """Comparisons by the status of their consensus."""

    def get_fields(self) -> dict[str, Any]:
        """Return one count for each status."""
        return {status.value: serializers.IntegerField() for status in Status}


class ReasonCountSerializer(serializers.Serializer[Any]):
    """Comparisons that were excluded for one reason."""

    reason = serializers.CharField()
    count = serializers.IntegerField()


class ComparisonCountsSerializer(serializers.Serializer[Any]):
    """The comparisons that somebody has annotated; control items are apart."""

    by_status = StatusCountsSerializer()
    excluded_reasons = ReasonCountSerializer(many=True)
    control_items = serializers.IntegerField()


class AnnotationCountsSerializer(serializers.Serializer[Any]):
    """What there is to count; repeats come on top of the total."""

    total = serializers.IntegerField()
    imported = serializers.IntegerField()
    on_control_items = serializers.IntegerField()
    neither = serializers.IntegerField()
    ties = serializers.IntegerField()
    repeats = serializers.IntegerField()


class StageSerializer(serializers.Serializer[Any]):
    """Agreement among some of the annotations of comparisons that have at least two of them."""

    units = serializers.IntegerField(help_text="Comparisons.")
    votes = serializers.IntegerField(help_text="Annotations.")
    unmeasured = serializers.IntegerField(
        help_text="Annotations that say neither valid: a category of their own in nominal figures, or left out."
    )
    mean_preference = serializers.FloatField(allow_null=True)
    deviation = serializers.FloatField(allow_null=True, help_text="Standard deviation of the preference.")
    exact = EstimateSerializer(help_text="Share of pairs of annotations with the same preference.")
    same_side = EstimateSerializer(help_text="Share of pairs of annotations that prefer the same response.")
    kappa = EstimateSerializer(help_text="Cohen's kappa over all pairs of annotations.")
    kappa_linear = EstimateSerializer(help_text="The same with linear weights.")
    kappa_quadratic = EstimateSerializer(help_text="The same with quadratic weights, as HelpSteer2 reports it.")
    fleiss = EstimateSerializer(help_text="Fleiss' kappa; each comparison counts alike.")
    alpha_nominal = EstimateSerializer(help_text="Krippendorff's alpha, preferences as mere categories.")
    alpha_ordinal = EstimateSerializer(help_text="Krippendorff's alpha, preferences in their order.")
    alpha_interval = EstimateSerializer(help_text="Krippendorff's alpha, preferences as numbers.")


class AgreementSerializer(serializers.Serializer[Any]):
    """Agreement as people answered, among the most similar answers, and where the consensus rules find agreement."""

    raw = StageSerializer(help_text="All current annotations.")
    most_similar = StageSerializer(help_text="Those that the consensus rules keep, however far they are apart.")
    after_consensus = StageSerializer(help_text="Those kept in comparisons on which people agree.")


class RatingAgreementSerializer(serializers.Serializer[Any]):
    """Agreement on one attribute of single responses: Cohen's kappa, quadratic weights."""

    attribute = serializers.CharField()
    responses = serializers.IntegerField()
    raw = EstimateSerializer()
    after_consensus = EstimateSerializer()


class PositionBiasSerializer(serializers.Serializer[Any]):
    """How often the response shown first is preferred. The order is drawn, so a half is expected."""

    first_side = ShareSerializer()
    probability = serializers.FloatField(
        allow_null=True, help_text="Of a share at least as far from a half, if position did not matter (sign test)."
    )
    shown_as_stored = ShareSerializer(help_text="Annotations whose person saw response 1 first.")
    without_order = serializers.IntegerField(help_text="Imported preferences, of which no order is known: left out.")


class LengthBucketSerializer(serializers.Serializer[Any]):
    """Annotations of comparisons whose longer response is so many times as long as the other."""

    at_least = serializers.FloatField()
    below = serializers.FloatField(allow_null=True)
    longer_side = ShareSerializer()


class LengthBiasSerializer(serializers.Serializer[Any]):
    """How often the longer response is preferred, in characters. It may well be the better one."""

    longer_side = ShareSerializer()
    equal_length = serializers.IntegerField()
    by_ratio = LengthBucketSerializer(many=True)


class StrengthGapSerializer(serializers.Serializer[Any]):
    """How many points more the preferred response was rated, on average."""

    strength = serializers.IntegerField()
    votes = serializers.IntegerField()
    mean_gap = serializers.FloatField(allow_null=True)


class ConsistencySerializer(serializers.Serializer[Any]):
    """Whether preference and ratings of the same answer point the same way."""

    attribute = serializers.CharField()
    same_way = ShareSerializer()
    equal_ratings = serializers.IntegerField(help_text="Preferences between responses that were rated the same.")
    correlation = serializers.FloatField(allow_null=True, help_text="Pearson's r of preference and rating difference.")
    by_strength = StrengthGapSerializer(many=True)


class GuidelineFiguresSerializer(serializers.Serializer[Any]):
    """Answers given under one version of the guideline."""

    version = serializers.IntegerField()
    annotations = serializers.IntegerField()
    agrees_with_others = ShareSerializer()
    first_side = ShareSerializer()
    longer_side = ShareSerializer()
    neither = ShareSerializer()
    mean_strength = serializers.FloatField(allow_null=True)
    median_seconds = serializers.FloatField(allow_null=True)


class BiasSerializer(serializers.Serializer[Any]):
    """What pulls preferences besides the texts."""

    position = PositionBiasSerializer()
    length = LengthBiasSerializer()
    consistency = ConsistencySerializer(allow_null=True)
    guideline_versions = GuidelineFiguresSerializer(many=True)


class AnnotatorFiguresSerializer(serializers.Serializer[Any]):
    """One person's answers. None of these figures is a grade: remarks say where to look."""

    id = serializers.CharField()
    annotator = serializers.CharField()
    annotations = serializers.IntegerField(help_text="Current ones, without repeats.")
    imported = serializers.IntegerField()
    median_seconds = serializers.FloatField(allow_null=True, help_text="Active time on an annotation.")
    mean_seconds = serializers.FloatField(allow_null=True)
    agrees_with_others = ShareSerializer(
        help_text="Of comparisons where more than half of the others, two at least, are on one side: that side."
    )
    control_items = ShareSerializer(help_text="Of control items: the known side.")
    agrees_with_self = ShareSerializer(help_text="Of repeated pairs: the same side again.")
    skipped = ShareSerializer()
    flagged = ShareSerializer(help_text="Skipped as something that nobody should label.")
    neither = ShareSerializer(help_text="Neither valid.")
    first_side = ShareSerializer(help_text="Of preferences whose order is known: the response shown first.")
    longer_side = ShareSerializer(help_text="Of preferences between different lengths: the longer response.")
    follows_rules = ShareSerializer(help_text="Of preferences on which rules with high agreement prefer one: that one.")
    same_ratings = ShareSerializer(help_text="Every rating of both responses is the same number.")
    pasted = ShareSerializer(help_text="More than half of the justification was pasted.")
    short_justifications = ShareSerializer(help_text="Less than half as long as the project's median.")
    repeated_justifications = ShareSerializer(help_text="The same words as in an answer of this person before.")
    preferences = serializers.DictField(child=serializers.IntegerField(), help_text="Annotations by preference.")
    remarks = serializers.ListField(
        child=serializers.CharField(), help_text="Names of shares that chance does not explain (Holm, 1 % in all)."
    )


class ProjectQualitySerializer(serializers.Serializer[Any]):
    """How good a project's labels are, at most a minute ago."""

    computed_at = serializers.DateTimeField()
    comparisons = ComparisonCountsSerializer()
    annotations = AnnotationCountsSerializer()
    agreement = AgreementSerializer()
    rating_agreement = RatingAgreementSerializer(many=True)
    bias = BiasSerializer()
    annotators = AnnotatorFiguresSerializer(many=True)
