"""The rules that spoke for and against a pair, for the annotator who has submitted it, and their objections."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from django.db import transaction
from django.db.models import QuerySet
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import Conflict, FieldError, InvalidInput, NotFound
from apps.core.json_values import why_unstorable
from apps.labeling.lookup import get_assignment, load_texts
from apps.labeling.models import Annotation, Assignment
from apps.labeling.services import changeable_ids
from apps.rules.labeled import Judge
from apps.rules.models import Rule, RuleObjection, RuleSet
from worker.core.conversation import prompt_text
from worker.core.rules.measuring import measure

MAX_NOTE = 1000
OBJECTIONS_SHOWN = 50


@dataclass(frozen=True)
class Spoken:
    """A rule that prefers one response of a pair; `label` is the response's number in the order shown."""

    rule: Rule
    label: int
    objected: bool


def rules_that_spoke(*, user: User, assignment_id: int) -> tuple[Assignment, list[Spoken]]:
    """Return one's own submitted assignment with the active rules that prefer one of its responses.

    Raises NotFound unless the project shows rules and the answer can no longer be changed: what a machine says comes
    after the person has spoken, for good. While the same pair waits as a repeat, it stays silent, too.
    """
    assignment = get_assignment(user=user, assignment_id=assignment_id)
    if not _may_see(assignment):
        raise NotFound(_("There are no rules to see here."))
    load_texts(assignment)
    rules = Rule.objects.filter(rule_set__project=assignment.project_id, rule_set__state=RuleSet.State.ACTIVE)
    kept = list(rules.filter(state=Rule.State.KEPT).select_related("rule_set").order_by("number"))
    objected = set(RuleObjection.objects.filter(assignment=assignment).values_list("rule_id", flat=True))
    votes = votes_on(assignment, kept)
    shown_as = {-1: 2 if assignment.swapped else 1, 1: 1 if assignment.swapped else 2}
    return assignment, [
        Spoken(rule, shown_as[vote], rule.pk in objected) for rule, vote in zip(kept, votes, strict=True) if vote
    ]


def votes_on(assignment: Assignment, rules: Sequence[Rule]) -> list[int]:
    """Return what each rule prefers in a pair whose texts are loaded: −1 response 1, 1 response 2, 0 neither."""
    pair, judge = assignment.comparison, Judge(rules, rules[0].rule_set.verifier if rules else "")
    asked = prompt_text(pair.prompt.messages)
    values = measure([(asked, pair.response_1.text), (asked, pair.response_2.text)], judge.names)
    ids = [pair.response_1_id, pair.response_2_id]
    first, second = (judge.verdicts([pk], values[at : at + 1]) for at, pk in enumerate(ids))
    votes = judge.votes(values[:1], values[1:], (first, second))
    return [int(vote) for vote in np.ravel(votes)]


def objections_to(rule: Rule) -> QuerySet[RuleObjection]:
    """Return what annotators of the project say against a statement, in whatever version, the newest first."""
    rows = RuleObjection.objects.filter(rule__statement_hash=rule.statement_hash)
    return rows.filter(rule__rule_set__project=rule.rule_set.project_id).order_by("-id")


@transaction.atomic
def object_to_rule(*, user: User, assignment_id: int, rule_number: int, note: str = "") -> RuleObjection:
    """Store that a person calls a rule wrong about a pair; saying so twice changes the note and nothing else."""
    assignment, spoken = rules_that_spoke(user=user, assignment_id=assignment_id)
    rule = next((each.rule for each in spoken if each.rule.number == rule_number), None)
    if rule is None:
        raise Conflict(_("This rule does not say anything about the pair."))
    if len(note) > MAX_NOTE or why_unstorable(note):
        detail = _("Expected a note of at most %(most)s characters.") % {"most": MAX_NOTE}
        raise InvalidInput(detail, [FieldError("/note", detail)])
    made, _created = RuleObjection.objects.update_or_create(rule=rule, assignment=assignment, defaults={"note": note})
    return made


def _may_see(assignment: Assignment) -> bool:
    """Say whether this person has spoken about the pair for good, and the project shows rules."""
    if not assignment.project.shows_rules or assignment.state != Assignment.State.SUBMITTED or assignment.is_reopened:
        return False
    same = {"comparison": assignment.comparison_id, "annotator": assignment.annotator_id}
    if Assignment.objects.filter(**same, state=Assignment.State.LEASED).exists():
        return False
    if not Annotation.objects.filter(assignment=assignment, is_current=True).exists():
        return False
    return assignment.pk not in changeable_ids(project=assignment.project, annotator=assignment.annotator)
