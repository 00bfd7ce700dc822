"""Rule sets: versions that never change, what managers do to rules, and the REST doors."""

import pytest
from django.db import IntegrityError
from django.utils import timezone

from apps.accounts.services import create_token
from apps.core.errors import Conflict, InvalidInput
from apps.jobs.models import Job
from apps.projects.models import AuditEvent
from apps.rules.editing import edit_rule
from apps.rules.models import Rule, RuleExtraction, RuleSet
from apps.rules.services import ProposedRule, activate, create_rule_set, start_mining
from apps.signals.models import Scorer
from tests.rules.labeled import bound, label_pairs

pytestmark = pytest.mark.django_db
HEADINGS = {"wants": "more", "threshold": 1.0, "relative": False}


@pytest.fixture
def draft(project, manager) -> RuleSet:
    rules = [
        ProposedRule(property="headings", parameters=HEADINGS, support=9, agreement=0.7, interval=(0.6, 0.8)),
        ProposedRule(text="Is kind.", sources={"comparisons": [1, 2], "candidates": ["Be kind."]}),
        ProposedRule(text="Is gentle.", sources={"comparisons": [2, 3], "candidates": ["Be soft."]}),
    ]
    made = create_rule_set(project=project, origin="miner", rules=rules, options={"miner": "x"}, created_by=None)
    return bound(made, manager)


def rule(rule_set: RuleSet, number: int) -> Rule:
    return Rule.objects.select_related("rule_set").get(rule_set=rule_set, number=number)


def test_a_draft_is_edited_in_place(draft, manager):
    changed = edit_rule(rule=rule(draft, 1), actor=manager, changes={"parameters": {"threshold": 3}, "weight": 2.5})
    assert (changed.rule_set, changed.text, changed.weight) == (draft, "The response has at least 3 headings.", 2.5)
    assert (changed.support, changed.agreement, changed.agreement_low) == (0, None, None)  # measured of another rule
    same = edit_rule(rule=rule(draft, 2), actor=manager, changes={"text": "  is KIND. "})
    assert same.statement_hash == rule(draft, 2).statement_hash
    assert AuditEvent.objects.filter(verb="edited a rule").count() == 2


def test_a_set_that_was_active_never_changes(draft, manager):
    edit_rule(rule=rule(draft, 3), actor=manager, changes={"merged_into": 2})
    activate(rule_set=draft, actor=manager)
    before = list(Rule.objects.filter(rule_set=draft).order_by("number").values())
    changed = edit_rule(rule=rule(draft, 2), actor=manager, changes={"text": "Is very kind."})
    again = edit_rule(rule=rule(draft, 1), actor=manager, changes={"state": "rejected"})
    assert list(Rule.objects.filter(rule_set=draft).order_by("number").values()) == before
    assert changed.rule_set == again.rule_set != draft
    assert (changed.rule_set.version, changed.rule_set.parent, changed.rule_set.state) == (2, draft, "draft")
    assert rule(changed.rule_set, 3).merged_into == rule(changed.rule_set, 2)
    activate(rule_set=changed.rule_set, actor=manager)
    draft.refresh_from_db()
    assert draft.state == "retired"
    assert list(RuleSet.objects.filter(state="active")) == [changed.rule_set]


@pytest.mark.parametrize(
    ("number", "changes"), [(1, {"weight": 2.0}), (2, {"state": "rejected"}), (3, {"merged_into": 2})]
)
def test_figures_from_before_a_change_are_marked(draft, manager, number, changes):
    RuleSet.objects.update(figures={"pairs": 9}, measured_at=timezone.now(), changed_at=None)
    assert not RuleSet.objects.get().stale
    activate(rule_set=draft, actor=manager)
    edited = edit_rule(rule=rule(draft, number), actor=manager, changes=changes).rule_set
    edited.refresh_from_db()
    assert (edited.version, edited.figures, edited.stale) == (2, {"pairs": 9}, True)
    assert not RuleSet.objects.get(version=1).stale


def test_nothing_to_change_makes_no_draft(draft, manager):
    activate(rule_set=draft, actor=manager)
    with pytest.raises(InvalidInput, match="what to change"):
        edit_rule(rule=rule(draft, 1), actor=manager, changes={})
    assert RuleSet.objects.count() == 1


def test_two_rules_that_count_never_say_the_same(draft, manager):
    with pytest.raises(InvalidInput, match="Rule 2 of this set says the same"):
        edit_rule(rule=rule(draft, 3), actor=manager, changes={"text": "is  KIND."})
    edit_rule(rule=rule(draft, 2), actor=manager, changes={"state": "rejected"})
    edit_rule(rule=rule(draft, 3), actor=manager, changes={"text": "Is kind."})
    with pytest.raises(InvalidInput) as refused:
        edit_rule(rule=rule(draft, 2), actor=manager, changes={"state": "kept"})
    assert refused.value.errors[0].pointer == "/state"


def test_merging_keeps_the_sources_of_both(draft, manager):
    merged = edit_rule(rule=rule(draft, 3), actor=manager, changes={"merged_into": 2})
    assert (merged.state, merged.merged_into) == ("rejected", rule(draft, 2))
    assert rule(draft, 2).sources == {"comparisons": [1, 2, 3], "candidates": ["Be kind.", "Be soft."]}
    with pytest.raises(InvalidInput, match="not rejected"):
        edit_rule(rule=rule(draft, 1), actor=manager, changes={"merged_into": 3})
    back = edit_rule(rule=rule(draft, 3), actor=manager, changes={"state": "kept"})
    assert back.merged_into is None


@pytest.mark.parametrize(
    ("number", "changes", "pointer"),
    [
        (1, {"text": "Is short."}, "/text"),
        (2, {"parameters": {"threshold": 1}}, "/parameters"),
        (1, {"parameters": {"threshold": "much"}}, "/parameters/threshold"),
        (1, {"parameters": {"charm": 1}}, "/parameters"),
        (2, {"text": " "}, "/text"),
        (2, {"text": "a\x00b"}, "/text"),
        (2, {"merged_into": 2}, "/merged_into"),
    ],
)
def test_a_wrong_change_names_its_field_and_changes_nothing(draft, manager, number, changes, pointer):
    activate(rule_set=draft, actor=manager)
    with pytest.raises(InvalidInput) as refused:
        edit_rule(rule=rule(draft, number), actor=manager, changes=changes)
    assert refused.value.errors[0].pointer == pointer
    assert RuleSet.objects.count() == 1  # not even a draft is left


def test_activating_keeps_what_was_not_rejected_and_scores(draft, manager):
    edit_rule(rule=rule(draft, 3), actor=manager, changes={"state": "rejected"})
    job = activate(rule_set=draft, actor=manager)
    assert list(draft.rules.order_by("number").values_list("state", flat=True)) == ["kept", "kept", "rejected"]
    scorer = Scorer.objects.get(kind="rule_set")
    assert (job.kind, job.inputs["rule_set"], scorer.name) == ("verification", draft.pk, "Rule set 1")
    assert Job.objects.get(kind="scoring").inputs == {"scorer": scorer.pk}
    assert scorer.config["verifier"] == draft.verifier
    with pytest.raises(Conflict, match="active already"):
        activate(rule_set=draft, actor=manager)
    with pytest.raises(IntegrityError):
        RuleSet.objects.create(project=draft.project, version=7, origin="miner", state="active")


def test_a_set_without_rules_cannot_be_active(draft, manager):
    draft.rules.update(state="rejected")
    with pytest.raises(Conflict, match="every one of its rules is rejected"):
        activate(rule_set=draft, actor=manager)


def test_mining_twice_is_one_run_and_needs_labels(project, manager):
    with pytest.raises(Conflict, match="has 0 labels"):
        start_mining(project=project, options={})
    label_pairs(project, 40)
    first = start_mining(project=project, options={"miner": "programmatic"})
    assert start_mining(project=project, options={"miner": "programmatic"}) == first
    for other in ({"seed": 1}, {"options": {"miner": "x"}}):
        with pytest.raises(Conflict, match="Another search for rules is not finished"):
            start_mining(project=project, **{"options": {"miner": "programmatic"}, **other})
    assert RuleExtraction.objects.count() == Job.objects.count() == 1


def test_the_rest_doors(client, draft, manager, project):
    def call(method: str, path: str, body: object = None):
        _token, key = create_token(user=manager, name="t", scope="write")
        return client.generic(
            method, f"/api/v1/{path}", "" if body is None else __import__("json").dumps(body),
            content_type="application/json", headers={"Authorization": f"Token {key}"},
        )  # fmt: skip

    (listed,) = call("GET", "projects/tides/rule-sets/").json()["results"]
    assert (listed["version"], listed["state"], listed["origin"]) == (1, "draft", "miner")
    shown = call("GET", f"rule-sets/{listed['id']}/").json()
    assert [each["kind"] for each in shown["rules"]] == ["programmatic", "language_model", "language_model"]
    assert (shown["rules"][0]["support"], shown["rules"][0]["agreement"]) == (9, {"value": 0.7, "interval": [0.6, 0.8]})
    assert shown["rules"][1]["sources"] == {"comparisons": [1, 2], "candidates": ["Be kind."]}
    refused = call("PATCH", f"rules/{shown['rules'][0]['id']}/", {"parameters": {"wants": "charm"}})
    assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (422, "/parameters/wants")
    assert call("PATCH", f"rules/{shown['rules'][0]['id']}/", {"charm": 1}).status_code == 422
    assert call("PATCH", f"rules/{shown['rules'][1]['id']}/", {"merged_into": 3}).json()["merged_into"] == 3
    path = f"rule-sets/{listed['id']}/activate/"
    assert call("POST", path, {"reward_weight": -1}).json()["errors"][0]["pointer"] == "/reward_weight"
    accepted = call("POST", path, {"reward_weight": 5})
    assert call("GET", f"rule-sets/{listed['id']}/").json()["options"] == {"miner": "x", "reward_weight": 5}
    assert (accepted.status_code, accepted.json()["job"]["kind"]) == (202, "verification")
    assert call("POST", f"rule-sets/{listed['id']}/activate/").status_code == 409
    edited = call("PATCH", f"rules/{shown['rules'][0]['id']}/", {"weight": 2}).json()
    assert edited["rule_set"] != listed["id"]
    assert call("POST", "projects/tides/rule-extractions/", {"miner": "programmatic"}).status_code == 409
    assert call("POST", "projects/tides/rule-extractions/", {}).json()["errors"][0]["pointer"] == "/miner"
    label_pairs(project, 40)
    started = call("POST", "projects/tides/rule-extractions/", {"miner": "programmatic", "seed": 4})
    assert (started.status_code, started.json()["job"]["kind"]) == (202, "rule_extraction")
    (run,) = call("GET", "projects/tides/rule-extractions/").json()["results"]
    assert (run["seed"], run["stage"], run["rule_set"]) == (4, "select", None)
