"""Edit the rules of a set: reword, weigh, keep, reject, merge; a set that was ever active is copied first."""

from typing import Any

from django.db import transaction
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import FieldError, InvalidInput
from apps.core.json_values import why_unstorable
from apps.projects.models import Project
from apps.projects.services import record
from apps.rules.models import Kind, Rule, RuleSet
from apps.rules.services import MAX_SENTENCE, create_rule_set
from worker.core.rules.statements import MeasuredRule, sentence_hash


@transaction.atomic
def edit_rule(*, rule: Rule, actor: User, changes: dict[str, Any]) -> Rule:
    """Change a rule and return it; in a set that was ever active, change its copy in a draft made from that set.

    `changes` may hold `text` (of a rule that a language model reads), `parameters` (of a measured one), `weight`,
    `state`, and `merged_into`, the number of another rule of the set that takes its sources and stands for both. The
    figures of the set are marked as from before the change. Raises InvalidInput for no change, and for a statement that
    another rule of the set makes, which would count twice.
    """
    if not changes:
        raise InvalidInput(_("Name what to change of the rule."), [FieldError("", _("There is nothing to change."))])
    Project.objects.select_for_update(no_key=True).get(pk=rule.rule_set.project_id)
    rule = Rule.objects.select_related("rule_set__project").get(pk=rule.pk)
    draft = draft_of(rule_set=rule.rule_set, actor=actor)
    changed = Rule.objects.select_related("rule_set__project").get(rule_set=draft, number=rule.number)
    before = changed.statement_hash, changed.state
    if "text" in changes:
        _reword(changed, changes["text"])
    if "parameters" in changes:
        _remeasure(changed, changes["parameters"])
    if "weight" in changes:
        changed.weight = changes["weight"]
    if changes.get("state"):
        changed.state, changed.merged_into = changes["state"], None
    if changes.get("merged_into") is not None:
        _merge(changed, changes["merged_into"])
    if changed.statement_hash != before[0] or (before[1] == Rule.State.REJECTED and "state" in changes):
        _refuse_twin(changed, "text" if "text" in changes else "parameters" if "parameters" in changes else "state")
    changed.save()
    draft.changed_at = timezone.now()
    draft.save(update_fields=["changed_at"])
    record(
        project=draft.project, actor=actor, verb="edited a rule", rule_set=draft.version, rule=changed.number, **changes
    )
    return changed


@transaction.atomic
def draft_of(*, rule_set: RuleSet, actor: User | None) -> RuleSet:
    """Return the set if it is a draft, else the draft made from it, with the same rules under the same numbers."""
    if rule_set.state == RuleSet.State.DRAFT:
        return rule_set
    draft = rule_set.children.filter(state=RuleSet.State.DRAFT, origin=RuleSet.Origin.EDIT).order_by("-version").first()
    if draft is not None:
        return draft
    draft = create_rule_set(
        project=rule_set.project,
        origin=RuleSet.Origin.EDIT,
        rules=[],
        options=rule_set.options,
        created_by=actor,
        parent=rule_set,
        figures=rule_set.figures,
    )
    copies, merged = [], {}
    for rule in rule_set.rules.order_by("number").select_related("merged_into"):
        if rule.merged_into is not None:
            merged[rule.number] = rule.merged_into.number
        rule.pk, rule.rule_set, rule.merged_into = None, draft, None
        copies.append(rule)
    Rule.objects.bulk_create(copies)
    numbered = {copy.number: copy for copy in copies}
    for number, into in merged.items():
        Rule.objects.filter(pk=numbered[number].pk).update(merged_into=numbered[into])
    return draft


def _reword(rule: Rule, text: str) -> None:
    if rule.kind == Kind.PROGRAMMATIC:
        detail = _("A measured rule's sentence follows from its parameters; change those.")
        raise InvalidInput(detail, [FieldError("/text", detail)])
    text = " ".join(text.split())
    problem = why_unstorable(text)
    if not text or len(text) > MAX_SENTENCE or problem:
        detail = _("Expected a sentence of at most %(most)s characters.") % {"most": MAX_SENTENCE}
        raise InvalidInput(detail, [FieldError("/text", detail)])
    if sentence_hash(text) != rule.statement_hash:
        _forget_figures(rule)
    rule.text, rule.statement_hash = text, sentence_hash(text)


def _remeasure(rule: Rule, parameters: dict[str, Any]) -> None:
    if rule.kind != Kind.PROGRAMMATIC:
        detail = _("Only a measured rule has parameters.")
        raise InvalidInput(detail, [FieldError("/parameters", detail)])
    try:
        measured = MeasuredRule.from_parameters(rule.property, {**rule.parameters, **parameters})
    except ValueError as error:
        name, _sep, detail = str(error).partition(": ")
        pointer = "/parameters" if name == "parameters" else f"/parameters/{name}"
        raise InvalidInput(_("The parameters are not valid."), [FieldError(pointer, detail)]) from error
    if measured.statement_hash != rule.statement_hash:
        _forget_figures(rule)
    rule.parameters, rule.text, rule.statement_hash = measured.parameters, measured.text, measured.statement_hash


def _refuse_twin(rule: Rule, name: str) -> None:
    """Refuse a change of this field after which two rules that count say the same."""
    if rule.state == Rule.State.REJECTED:
        return
    same = rule.rule_set.rules.filter(statement_hash=rule.statement_hash).exclude(state=Rule.State.REJECTED)
    if (twin := same.exclude(pk=rule.pk).first()) is not None:
        detail = _("Rule %(number)s of this set says the same.") % {"number": twin.number}
        raise InvalidInput(detail, [FieldError(f"/{name}", detail)])


def _forget_figures(rule: Rule) -> None:
    """Drop what was measured of another statement."""
    rule.support, rule.figures = 0, {}
    rule.agreement = rule.agreement_low = rule.agreement_high = None


def _merge(rule: Rule, number: int) -> None:
    into = rule.rule_set.rules.filter(number=number).exclude(pk=rule.pk).first()
    if into is None or into.state == Rule.State.REJECTED:
        detail = _("Expected the number of another rule of this set that is not rejected.")
        raise InvalidInput(detail, [FieldError("/merged_into", detail)])
    into.sources = _together(into.sources, rule.sources)
    into.save(update_fields=["sources"])
    rule.merged.update(merged_into=into)
    rule.state, rule.merged_into = Rule.State.REJECTED, into


def _together(first: dict[str, Any], second: dict[str, Any]) -> dict[str, Any]:
    """Return the sources of both, each once."""
    return {
        name: list(dict.fromkeys([*first.get(name, []), *second.get(name, [])]))
        if isinstance(first.get(name, second.get(name)), list)
        else first.get(name, second.get(name))
        for name in {**first, **second}
    }
