"""Rules: sets, one set, one rule with its evidence, and what managers do to them."""

from datetime import UTC, datetime
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.utils.translation import gettext_noop
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.requests import PageRequest
from apps.core.errors import AppError, Conflict, InvalidInput, NotFound
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.endpoints.services import endpoints_of
from apps.jobs.services import live_queues
from apps.projects.access import LABELS, SEES_RESULTS, Role, get_membership, is_id
from apps.projects.models import Membership
from apps.projects.services import update_project
from apps.prompts.models import Comparison
from apps.rules import services
from apps.rules.editing import edit_rule
from apps.rules.forms import RuleForm
from apps.rules.models import Kind, Rule, RuleExtraction, RuleObjection, RuleSet
from apps.rules.spoken import MAX_NOTE, OBJECTIONS_SHOWN, object_to_rule, objections_to, rules_that_spoke

SHOWN = 10


@signed_in
@require_GET
def rule_sets(request: PageRequest, slug: str) -> HttpResponse:
    """List the rule sets and the runs that looked for rules; polled while one looks."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    project = membership.project
    runs = RuleExtraction.objects.filter(project=project).select_related("job__created_by", "rule_set")
    shown = list(runs.defer("labels").order_by("-id")[:SHOWN])
    context = {
        "membership": membership,
        "sets": RuleSet.objects.filter(project=project).select_related("parent", "created_by").order_by("-version"),
        "runs": shown,
        "unfinished": any(not run.job.finished for run in shown),
        "asleep": {run.job.queue for run in shown if not run.job.finished} - live_queues(),
        "labels": services.minable_labels(project),
        "min_labels": services.MIN_LABELS,
    }
    return render_page(request, "rules/rule_sets.html", "live", context)


@signed_in
@require_POST
def mine(request: PageRequest, slug: str) -> HttpResponse:
    """Look for rules in the labels."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    try:
        services.start_mining(project=membership.project, options={"miner": "programmatic"}, created_by=membership.user)
    except Conflict as refused:
        messages.error(request, refused.detail)
    return redirect("rule-sets", slug)


@signed_in
@require_POST
def shown(request: PageRequest, slug: str) -> HttpResponse:
    """Decide whether annotators see the rules after they have submitted."""
    membership = get_membership(request.user, slug, Role.MANAGER)
    shows = request.POST.get("shows_rules") == "true"
    update_project(project=membership.project, actor=membership.user, shows_rules=shows)
    messages.success(
        request, _("Annotators see the rules after submitting.") if shows else _("Annotators do not see the rules.")
    )
    return redirect("rule-sets", slug)


@signed_in
@require_http_methods(["GET", "POST"])
def spoken(request: PageRequest, assignment_id: int) -> HttpResponse:
    """Show an annotator the rules that spoke for and against a submitted pair, and take an objection."""
    if request.method == "POST":
        number = request.POST.get("rule", "")
        if not is_id(number):
            raise NotFound(_("There is no such rule in this set."))
        note = request.POST.get("note", "").strip()
        try:
            object_to_rule(user=request.user, assignment_id=assignment_id, rule_number=int(number), note=note)
            messages.success(request, _("Thank you: the managers see your objection."))
        except (Conflict, InvalidInput) as refused:
            messages.error(request, refused.detail)
        return redirect("assignment-rules", assignment_id)
    assignment, rules = rules_that_spoke(user=request.user, assignment_id=assignment_id)
    membership = get_membership(request.user, assignment.project.slug, *LABELS)
    sides = [(number, [each for each in rules if each.label == number]) for number in (1, 2)]
    context = {"membership": membership, "assignment": assignment, "sides": sides, "most": MAX_NOTE}
    return render(request, "rules/spoken.html", context)


@signed_in
@require_GET
def rule_set(request: PageRequest, slug: str, version: int) -> HttpResponse:
    """Show one version with its rules."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    shown = _rule_set(membership, version)
    rules = list(shown.rules.select_related("merged_into").order_by("number"))
    valid = [rule for rule in rules if rule.state != Rule.State.REJECTED]
    numbers, matrix = shown.figures.get("numbers", []), shown.figures.get("overlap", [])
    context = {
        "membership": membership,
        "rule_set": shown,
        "rules": rules,
        "overlap": list(zip(numbers, matrix, strict=False)) if len(numbers) > 1 else [],
        "numbers": numbers,
        "objections": RuleObjection.objects.filter(rule__rule_set=shown).count(),
        "read": any(rule.kind == Kind.LANGUAGE_MODEL for rule in valid),
        "can_activate": bool(valid) and shown.state != RuleSet.State.ACTIVE,
        "models": endpoints_of(membership.user).order_by("name", "pk"),
    }
    return render_page(request, "rules/rule_set.html", "rules", context)


@signed_in
@require_POST
def activate(request: PageRequest, slug: str, version: int) -> HttpResponse:
    """Switch a version on."""
    membership = get_membership(request.user, slug, Role.MANAGER)
    try:
        endpoint = request.POST.get("endpoint", "")
        services.activate(rule_set=_rule_set(membership, version), actor=membership.user, endpoint=endpoint)
        messages.success(request, _("Version %(number)s is active: responses are being scored.") % {"number": version})
    except (Conflict, InvalidInput) as refused:
        messages.error(request, refused.detail)
    return redirect("rule-set", slug, version)


@signed_in
@require_POST
def measure(request: PageRequest, slug: str, version: int) -> HttpResponse:
    """Measure the rules of a version on the labels of now."""
    membership = get_membership(request.user, slug, *SEES_RESULTS)
    services.start_measuring(rule_set=_rule_set(membership, version), created_by=membership.user)
    messages.success(request, _("The rules are being measured."))
    return redirect("rule-set", slug, version)


@signed_in
@require_http_methods(["GET", "POST"])
def rule(request: PageRequest, slug: str, version: int, number: int) -> HttpResponse:
    """Show one rule with what was measured of it, and change it."""
    roles = SEES_RESULTS if request.method == "GET" else (Role.MANAGER,)
    membership = get_membership(request.user, slug, *roles)
    shown = _rule(membership, version, number)
    form, status = RuleForm(request.POST or None, rule=shown), 200
    if request.method == "POST":
        if form.is_valid():
            try:
                return _changed(request, membership, shown, form.changes())
            except InvalidInput as refused:
                form.add_errors(refused.errors)
        status = 422
    return render(request, "rules/rule.html", _evidence(membership, shown, form), status=status)


@signed_in
@require_POST
def decide(request: PageRequest, slug: str, version: int, number: int) -> HttpResponse:
    """Keep, reject or merge a rule."""
    membership = get_membership(request.user, slug, Role.MANAGER)
    shown = _rule(membership, version, number)
    state, into = request.POST.get("state", ""), request.POST.get("merged_into", "")
    changes: dict[str, Any] = {"state": state} if state in Rule.State.values else {}
    if not changes and into.isascii() and into.isdecimal() and len(into) < 9:
        changes = {"merged_into": int(into)}
    if not changes:
        messages.error(request, _("Choose what to do with the rule."))
        return redirect("rule-set", slug, version)
    try:
        changed = edit_rule(rule=shown, actor=membership.user, changes=changes)
    except AppError as refused:
        messages.error(request, refused.errors[0].detail if refused.errors else refused.detail)
        return redirect("rule-set", slug, version)
    _say(request, shown, changed)
    return redirect("rule-set", slug, changed.rule_set.version)


def _changed(request: PageRequest, membership: Membership, shown: Rule, changes: dict[str, Any]) -> HttpResponse:
    changed = edit_rule(rule=shown, actor=membership.user, changes=changes)
    _say(request, shown, changed)
    return redirect("rule", membership.project.slug, changed.rule_set.version, changed.number)


def _say(request: PageRequest, before: Rule, after: Rule) -> None:
    if before.rule_set_id == after.rule_set_id:
        messages.success(request, _("Rule %(number)s is changed.") % {"number": after.number})
    else:
        said = _("A version that was active never changes: this is the draft of version %(number)s.")
        messages.success(request, said % {"number": after.rule_set.version})


def _evidence(membership: Membership, shown: Rule, form: RuleForm) -> dict[str, Any]:
    figures = shown.figures
    ids = [*figures.get("examples", []), *figures.get("counterexamples", [])]
    found = Comparison.objects.filter(project=membership.project, pk__in=ids).select_related("prompt")
    comparisons = {row.pk: row for row in found.defer("reference", "metadata")}
    return {
        "membership": membership,
        "rule": shown,
        "form": form,
        "others": shown.rule_set.rules.exclude(pk=shown.pk).exclude(state=Rule.State.REJECTED).order_by("number"),
        "sides": [
            (_("People agree"), [comparisons[pk] for pk in figures.get("examples", []) if pk in comparisons]),
            (_("People disagree"), [comparisons[pk] for pk in figures.get("counterexamples", []) if pk in comparisons]),
        ],
        "periods": [
            {**period, "start": _moment(period["from"]), "end": _moment(period["to"])}
            for period in figures.get("periods", [])
        ],
        "retire": [_(RETIRE[name]) for name in figures.get("retire", []) if name in RETIRE],
        "objections": objections_to(shown).select_related("assignment__annotator", "assignment__comparison")[
            :OBJECTIONS_SHOWN
        ],
    }


RETIRE = {
    "coverage": gettext_noop("It prefers a response on too few pairs."),
    "chance": gettext_noop("Its agreement may be chance: the interval includes 50 %."),
    "against": gettext_noop("People prefer the other response."),
    "determinism": gettext_noop("Asked again, the language model answers something else."),
}
"""What speaks for retiring a rule."""


def _moment(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, tz=UTC)


def _rule_set(membership: Membership, version: int) -> RuleSet:
    found = RuleSet.objects.filter(project=membership.project, version=version).select_related("project", "parent")
    shown = found.first()
    if shown is None:
        raise NotFound(_("There is no such rule set in this project."))
    return shown


def _rule(membership: Membership, version: int, number: int) -> Rule:
    rules = Rule.objects.select_related("rule_set__project", "merged_into")
    found = rules.filter(rule_set=_rule_set(membership, version), number=number).first()
    if found is None:
        raise NotFound(_("There is no such rule in this set."))
    return found
