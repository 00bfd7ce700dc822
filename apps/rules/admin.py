"""Admin of rule sets, rules, verdicts, extractions and objections."""

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from apps.core.admin import ReadOnlyAdmin
from apps.rules.models import ExtractionItem, ExtractionMerge, Rule, RuleExtraction, RuleObjection, RuleSet, Verdict


@admin.register(RuleSet)
class RuleSetAdmin(ReadOnlyAdmin):
    """Versions of the rules; edit them on the project's page."""

    list_display = ("project", "version", "state", "origin", "activated_at", "created_at")
    list_filter = ("state", "origin")
    list_select_related = ("project",)
    search_fields = ("project__slug",)


@admin.register(Rule)
class RuleAdmin(ReadOnlyAdmin):
    """Rules of all versions."""

    list_display = ("text", "rule_set", "number", "kind", "state", "support", "agreement")
    list_filter = ("kind", "state")
    list_select_related = ("rule_set__project",)
    search_fields = ("text", "statement_hash")


@admin.register(Verdict)
class VerdictAdmin(ReadOnlyAdmin):
    """What language models said about responses and rules."""

    list_display = ("id", "response_id", "verifier", "repetition", "value", "created_at")
    search_fields = ("statement_hash", "verifier")


@admin.register(RuleExtraction)
class RuleExtractionAdmin(ReadOnlyAdmin):
    """Runs that looked for rules."""

    list_display = ("id", "project", "origin", "stage", "created_by", "created_at")
    exclude = ("labels",)
    list_filter = ("origin", "stage")
    list_select_related = ("project", "created_by")
    search_fields = ("project__slug",)

    def get_queryset(self, request: HttpRequest) -> QuerySet[RuleExtraction]:
        """Leave the frozen labels out, which can be many."""
        return super().get_queryset(request).defer("labels")


@admin.register(ExtractionItem)
class ExtractionItemAdmin(ReadOnlyAdmin):
    """What a language model made of single comparisons."""

    list_display = ("id", "extraction_id", "comparison_id", "attempts", "error")
    search_fields = ("comparison__external_id",)


@admin.register(ExtractionMerge)
class ExtractionMergeAdmin(ReadOnlyAdmin):
    """Merges of candidates."""

    list_display = ("id", "extraction_id", "level", "number", "error")


@admin.register(RuleObjection)
class RuleObjectionAdmin(ReadOnlyAdmin):
    """Rules that annotators called wrong."""

    list_display = ("id", "rule", "assignment_id", "note", "created_at")
    list_select_related = ("rule",)
    search_fields = ("note",)
