"""The links between a project's pages, for what this member may open."""

from typing import Any

from django import template
from django.utils.translation import gettext as _

from apps.projects.access import LABELS, OVERSEES, SEES_RESULTS
from apps.projects.models import Membership

register = template.Library()
RULES = {"rule-sets", "rule-set", "rule", "rule-extractions", "rule-extraction", "rule-extraction-item"}
WEBHOOKS = {"webhooks", "webhook", "webhook-rotate", "webhook-message"}


@register.inclusion_tag("projects/partials/nav.html")
def project_nav(membership: Membership, here: str) -> dict[str, Any]:
    """Return the links; `here` is the URL name of the page that is open."""
    labels, results = membership.role in LABELS, membership.role in SEES_RESULTS
    links = [
        ("project", _("Overview"), True, {"project"}),
        ("queue", _("Compare"), labels, {"queue", "assignment", "assignment-submit", "assignment-skip"}),
        ("my-work", _("My work"), labels, {"my-work"}),
        ("comparisons", _("Comparisons"), results, {"comparisons", "comparison"}),
        ("flags", _("Flags"), membership.role in OVERSEES, {"flags"}),
        ("quality", _("Quality"), results, {"quality", "quality-annotator"}),
        ("reward-models", _("Reward models"), results, {"reward-models", "reward-model", "training-run"}),
        ("rule-sets", _("Rules"), results, RULES),
        ("imports", _("Imports"), results, {"imports", "import"}),
        ("snapshots", _("Snapshots"), results, {"snapshots", "snapshot", "snapshot-card", "snapshot-diff"}),
        ("members", _("Members"), manages(membership), {"members", "cohorts", "cohort"}),
        ("guideline", _("Guideline"), True, {"guideline"}),
        ("project-settings", _("Settings"), manages(membership), {"project-settings", *WEBHOOKS}),
    ]
    shown = [(name, text, here in names) for name, text, allowed, names in links if allowed]
    return {"project": membership.project, "links": shown}


@register.filter
def sees_results(membership: Membership) -> bool:
    """Say whether this member may see other people's labels, signals, datasets and models."""
    return membership.role in SEES_RESULTS


@register.filter
def manages(membership: Membership) -> bool:
    """Say whether this member sets up the project."""
    return membership.role == Membership.Role.MANAGER


@register.filter
def oversees(membership: Membership) -> bool:
    """Say whether this member sees what was flagged, and leaves comparisons out."""
    return membership.role in OVERSEES
