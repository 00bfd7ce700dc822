"""Comparisons for those who see results: every annotation in canonical order, what was kept, the rewards."""

import pytest

from apps.labeling.leasing import lease_next
from apps.labeling.services import submit_annotation
from apps.signals.models import Scorer, Signal
from tests.factories import ComparisonFactory, MembershipFactory, answer
from tests.pages.test_project_page import label

LIST = "/projects/tides/comparisons/"


def test_the_list_is_filtered_by_state_and_consensus(as_user, manager, project):
    agreed, neither = label(project, -2, -2, -2), label(project, "neither", "neither", "neither")
    untouched = ComparisonFactory(project=project)
    client = as_user(manager)
    for query, expected in (
        ("", {agreed, neither, untouched}),
        ("?state=complete", {agreed, neither}),
        ("?state=open", {untouched}),
        ("?consensus=neither", {neither}),
        ("?state=complete&consensus=agreed", {agreed}),
        (f"?external_id={untouched.external_id}", {untouched}),
        ("?state=nonsense&page=nonsense", {agreed, neither, untouched}),
    ):
        html = client.get(LIST + query).content.decode()
        shown = {comparison for comparison in (agreed, neither, untouched) if f">{comparison.external_id}</a>" in html}
        assert shown == expected, query
    assert '<td class="number">−2</td>' in client.get(LIST).content.decode()


def test_a_filter_by_htmx_gets_the_results_alone(as_user, manager, project):
    response = as_user(manager).get(f"{LIST}?state=open", headers={"HX-Request": "true"})
    assert response.content.decode().strip().startswith('<div id="results">')
    assert "No comparison matches." in response.content.decode()


def test_the_list_is_paged_by_fifty_in_few_queries(as_user, manager, project, django_assert_max_num_queries):
    ComparisonFactory.create_batch(51, project=project)
    client = as_user(manager)
    with django_assert_max_num_queries(6):
        html = client.get(f"{LIST}?state=open").content.decode()
    assert html.count('<th scope="row">') == 50
    assert 'href="?state=open&amp;page=2"' in html
    assert client.get(f"{LIST}?page=2").content.decode().count('<th scope="row">') == 1


@pytest.mark.parametrize("swapped", [True, False])
def test_annotations_stand_in_canonical_order_with_names(as_user, manager, annotator, pair, lease, swapped):
    why = "@Response 1 explains both bulges and @Response 2 explains only the one below the Moon."
    submit_annotation(assignment=lease(swapped=swapped), body=answer(preference=-3, justification=why))
    html = as_user(manager).get(f"{LIST}{pair.pk}/").content.decode()
    assert "anna" in html
    assert ("saw it swapped" in html) is swapped
    better = "2" if swapped else "1"
    assert f"@Response {better} explains both bulges" in html
    assert f"Response {better} is much better than" in html
    assert ("2 · 3" if swapped else "3 · 2") in html
    assert "secret-model-one" in html


def test_what_was_kept_and_why_something_was_excluded_is_said(as_user, manager, project):
    comparison = label(project, -3, -3, 3, 3, "neither")
    html = as_user(manager).get(f"{LIST}{comparison.pk}/").content.decode()
    assert html.count(">kept<") == 3
    assert html.count(">not kept<") == 2
    assert "Excluded</strong>: Even the 3 most similar preferences spread by 6, more than 2." in html


def test_rewards_of_the_current_scorer_stand_with_each_response(as_user, researcher, project, pair):
    scorer = Scorer.objects.create(project=project, name="Reward model 4", kind="reward_model", orders_queue=True)
    old = Scorer.objects.create(project=project, name="Reward model 3", kind="reward_model")
    Signal.objects.create(scorer=scorer, response=pair.response_1, value=1.25, input_hash="x")
    Signal.objects.create(scorer=scorer, response=pair.response_2, value=-0.5, input_hash="x")
    Signal.objects.create(scorer=old, response=pair.response_2, value=9.75, input_hash="x")
    html = as_user(researcher).get(f"{LIST}{pair.pk}/").content.decode()
    assert "reward 1.250" in html
    assert "reward -0.500" in html
    assert "9.75" not in html
    assert "Rewards by Reward model 4." in html


def test_lengths_stand_below_the_responses_and_are_no_reward(as_user, researcher, project, pair):
    scorer = Scorer.objects.create(project=project, name="Length in <b>", kind="length", config={"unit": "words"})
    Signal.objects.create(scorer=scorer, response=pair.response_1, value=125, input_hash="x")
    html = as_user(researcher).get(f"{LIST}{pair.pk}/").content.decode()
    assert "Length in &lt;b&gt;: 125 : –." in html
    assert "reward 125" not in html
    assert "No scorer is in use yet." in html


def test_a_comparison_page_takes_the_same_queries_however_many_annotations(
    as_user, manager, project, django_assert_max_num_queries
):
    comparison = ComparisonFactory(project=project, queue__wanted=9)
    for _ in range(9):
        person = MembershipFactory(project=project).user
        submit_annotation(assignment=lease_next(project=project, annotator=person, resume=True), body=answer())
    client = as_user(manager)
    with django_assert_max_num_queries(8):
        client.get(f"{LIST}{comparison.pk}/")
