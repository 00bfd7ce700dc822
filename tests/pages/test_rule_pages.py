"""Rules on pages: versions, one version, one rule, what managers do, and what annotators see after they have spoken."""

import pytest

from apps.jobs.models import Job
from apps.labeling.leasing import lease_next
from apps.labeling.services import submit_annotation
from apps.projects.models import Project
from apps.rules.models import RuleObjection, RuleSet
from apps.rules.services import ProposedRule, activate, create_rule_set
from tests.api.conftest import Api
from tests.e2e.browser import axe_violations
from tests.factories import ComparisonFactory, ResponseFactory, answer
from tests.pages.conftest import PromptFactory
from tests.rules.labeled import bound

PATH = "/projects/tides/rules/"
MORE = {"wants": "more", "threshold": 1.0, "relative": False}
MEASURED = {"count": 30, "of": 40, "share": 0.75, "interval": [0.6, 0.86]}


@pytest.fixture
def pair(project):
    prompt = PromptFactory(project=project)
    texts = ("Short [1]", "<script>alert(1)</script> # Longer text, and more of it")
    first, second = (ResponseFactory(prompt=prompt, text=text) for text in texts)
    return ComparisonFactory(project=project, prompt=prompt, response_1=first, response_2=second)


@pytest.fixture
def draft(project, pair, manager):
    figures = {
        "held_out": MEASURED, "all": MEASURED, "coverage": 0.4, "drift": 0.2, "retire": ["chance"], "determinism": None,
        "domains": [{"domain": "<b>sea</b>", **MEASURED}], "periods": [{"from": 0.0, "to": 9e8, **MEASURED}],
        "examples": [pair.pk], "counterexamples": [],
    }  # fmt: skip
    rules = [
        ProposedRule(
            property="citations", parameters=MORE, support=40, agreement=0.75, interval=(0.6, 0.86), figures=figures
        ),
        ProposedRule(property="words", parameters={**MORE, "relative": True}),
        ProposedRule(text="Is <i>kind</i>."),
    ]  # fmt: skip
    of_set = {"held_out": MEASURED, "length": MEASURED, "overlap": [[1.0, -0.25], [-0.25, 1.0]], "numbers": [1, 2]}
    made = create_rule_set(
        project=project, origin="miner", rules=rules, options={"miner": "programmatic"}, created_by=None, figures=of_set
    )
    return bound(made, manager)


@pytest.fixture
def submitted(project, annotator, pair):
    """A pair that the annotator has answered for good, with its sides exchanged."""
    Project.objects.filter(pk=project.pk).update(protocol_settings={"undo_minutes": 0})
    assignment = lease_next(project=project, annotator=annotator, resume=True)
    assignment.swapped = True
    assignment.save()
    submit_annotation(assignment=assignment, body=answer())
    return assignment


def test_the_pages_say_what_is_known_and_of_which_kind_a_rule_is(as_user, researcher, draft):
    client = as_user(researcher)
    listed = client.get(PATH).content.decode()
    assert "Mined from the labels" in listed
    assert 'href="/projects/tides/rules/1/"' in listed
    shown = client.get(f"{PATH}1/").content.decode()
    assert "The response has citations." in shown
    assert "Measured" in shown
    assert "Read by a language model" in shown
    assert "&lt;i&gt;kind&lt;/i&gt;" in shown
    assert "60" in shown
    assert "−0.25" in shown
    assert "Reject" not in shown  # a researcher reads
    one = client.get(f"{PATH}1/1/").content.decode()
    assert "&lt;b&gt;sea&lt;/b&gt;" in one
    assert "the interval includes 50 %" in one
    assert f"/comparisons/{draft.project.comparisons.get().pk}/" in one
    assert client.get(f"{PATH}1/9/").status_code == client.get(f"{PATH}9/").status_code == 404


def test_a_manager_keeps_merges_edits_and_activates(as_user, manager, draft):
    client = as_user(manager)
    client.post(f"{PATH}1/2/decide/", {"state": "rejected"})
    assert draft.rules.get(number=2).state == "rejected"
    client.post(f"{PATH}1/3/decide/", {"merged_into": "1"})
    assert draft.rules.get(number=3).merged_into.number == 1
    wrong = client.post(f"{PATH}1/1/", {"wants": "more", "relative": "false", "threshold": "1e99", "weight": 1})
    assert wrong.status_code == 422
    assert "between -1e12 and 1e12" in wrong.content.decode()
    right = client.post(f"{PATH}1/1/", {"wants": "less", "relative": "false", "threshold": "2", "weight": 3})
    assert right["Location"] == f"{PATH}1/1/"
    rule = draft.rules.get(number=1)
    assert (rule.text, rule.weight) == ("The response has fewer than 2 citations.", 3)
    RuleSet.objects.update(figures={"verified": {"count": 10, "of": 445, "share": 10 / 445}})
    page = client.get(f"{PATH}1/").content.decode()
    assert "Measured before the last change of this version" in page
    assert "10 / 445" in page
    client.post(f"{PATH}1/activate/")
    assert RuleSet.objects.get().state == "active"
    assert set(Job.objects.values_list("kind", flat=True)) == {"scoring", "rule_figures"}
    moved = client.post(f"{PATH}1/2/decide/", {"state": "kept"})
    assert moved["Location"] == f"{PATH}2/"
    page = client.post(f"{PATH}mine/", follow=True).content.decode()
    assert "the miner starts at 30" in page


def test_a_version_whose_rules_are_all_rejected_offers_no_activation(as_user, manager, draft):
    client, address = as_user(manager), f"{PATH}1/activate/"
    assert address in client.get(f"{PATH}1/").content.decode()
    draft.rules.update(state="rejected")
    assert address not in client.get(f"{PATH}1/").content.decode()


def test_only_managers_change_rules(as_user, researcher, annotator, draft):
    for path in (f"{PATH}1/1/", f"{PATH}1/1/decide/", f"{PATH}1/activate/", f"{PATH}shown/"):
        assert as_user(researcher).post(path, {"state": "kept"}).status_code == 403
    for path in (PATH, f"{PATH}1/", f"{PATH}1/1/"):
        assert as_user(annotator).get(path).status_code == 403
    assert as_user(researcher).get(f"{PATH}1/activate/").status_code == 405


def test_an_annotator_sees_rules_only_when_the_project_shows_them_and_the_answer_is_final(
    as_user, annotator, manager, draft, submitted, stranger
):
    activate(rule_set=draft, actor=manager)
    path, client = f"/assignments/{submitted.pk}/rules/", as_user(annotator)
    work = "/projects/tides/my-work/"
    assert client.get(path).status_code == 404
    assert path not in client.get(work).content.decode()
    as_user(manager).post(f"{PATH}shown/", {"shows_rules": "true"})
    assert path in client.get(work).content.decode()
    html = client.get(path).content.decode()
    # The sides are exchanged: the second response of the pair was shown as Response 1, and it has more words.
    first, second = html.split('id="side-2"')
    assert "has more words than the other" in first
    assert "The response has citations." in second
    assert "<script>alert" not in html
    assert "secret-model" not in html
    assert as_user(stranger).get(path).status_code == 404
    Project.objects.filter(slug="tides").update(protocol_settings={"undo_minutes": 60})
    assert client.get(path).status_code == 404  # the answer can be changed again


def test_nothing_is_seen_before_submitting(as_user, annotator, manager, project, draft, pair):
    activate(rule_set=draft, actor=manager)
    Project.objects.filter(pk=project.pk).update(shows_rules=True, protocol_settings={"undo_minutes": 0})
    assignment = lease_next(project=project, annotator=annotator, resume=True)
    client = as_user(annotator)
    for path in (f"/assignments/{assignment.pk}/rules/",):
        assert client.get(path).status_code == client.post(path, {"rule": "1"}).status_code == 404
    for path in (f"/assignments/{assignment.pk}/", "/projects/tides/my-work/", "/projects/tides/queue/"):
        html = client.get(path, follow=True).content.decode()
        assert "citations" not in html
        assert "/rules/" not in html


def test_an_objection_reaches_the_manager(as_user, annotator, manager, project, draft, submitted):
    activate(rule_set=draft, actor=manager)
    Project.objects.filter(pk=project.pk).update(shows_rules=True)
    client, path = as_user(annotator), f"/assignments/{submitted.pk}/rules/"
    for _ in range(2):
        client.post(path, {"rule": "1", "note": "The <source> is made up."})
    assert RuleObjection.objects.get().rule.number == 1
    assert "You objected." in client.get(path).content.decode()
    shown = as_user(manager).get(f"{PATH}1/1/").content.decode()
    assert "The &lt;source&gt; is made up." in shown
    assert "anna" in shown
    told = Api(manager).get(f"rules/{RuleObjection.objects.get().rule_id}/").json()["objections"]
    assert (told["count"], told["newest"][0]["note"]) == (1, "The <source> is made up.")
    assert "does not say anything" in client.post(path, {"rule": "3"}, follow=True).content.decode()
    assert "at most 1000" in client.post(path, {"rule": "1", "note": "x" * 1001}, follow=True).content.decode()
    assert client.post(path, {"rule": "x"}).status_code == 404
    assert RuleObjection.objects.count() == 1


def test_the_list_and_a_version_cost_few_queries(as_user, manager, draft, django_assert_max_num_queries):
    client = as_user(manager)
    client.get(PATH)
    for path, most in ((PATH, 10), (f"{PATH}1/", 8), (f"{PATH}1/1/", 10)):
        with django_assert_max_num_queries(most):
            client.get(path)


@pytest.mark.django_db(transaction=True)
def test_axe_finds_nothing_and_no_page_is_wider_than_the_screen(open_page, manager, draft, annotator, submitted):
    activate(rule_set=draft, actor=manager)
    Project.objects.filter(slug="tides").update(shows_rules=True)
    for width, height, scheme in ((1440, 900, "light"), (390, 844, "dark")):
        window = {"bypass_csp": True, "color_scheme": scheme, "viewport": {"width": width, "height": height}}
        page = open_page(manager, PATH, **window)
        theirs = open_page(annotator, f"/assignments/{submitted.pk}/rules/", **window)
        for shown, path in ((page, PATH), (page, f"{PATH}1/"), (page, f"{PATH}1/1/"), (theirs, None)):
            if path:
                shown.goto(path)
            assert axe_violations(shown) == [], path
            assert shown.evaluate("document.documentElement.scrollWidth <= innerWidth"), path
        assert page.console == theirs.console == []
