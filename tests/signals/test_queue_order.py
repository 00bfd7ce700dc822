"""The margin of a pair orders the queue, least sure first."""

import pytest

from apps.labeling.models import QueueItem
from apps.prompts.models import Response
from apps.signals.models import Scorer, Signal
from apps.signals.services import (
    Measured,
    input_hash,
    order_queue,
    run_scorer,
    score_new_responses,
    store_signals,
    unscored,
    use_for_queue,
)
from tests.factories import ComparisonFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def scorer(project):
    return Scorer.objects.create(project=project, name="Reward model 1", kind="reward_model", orders_queue=True)


def score(scorer, comparison, first, second):
    pairs = ((comparison.response_1, first), (comparison.response_2, second))
    store_signals(scorer=scorer, measured=[Measured(r.pk, value, input_hash(r)) for r, value in pairs])


def test_the_smallest_margin_comes_first_and_unscored_pairs_before_all(project, scorer):
    sure, unsure, new = ComparisonFactory.create_batch(3, project=project)
    score(scorer, sure, 2.0, -1.0)
    score(scorer, unsure, 0.3, 0.5)
    order_queue(project=project)
    ordered = list(QueueItem.objects.order_by("-priority").values_list("pk", "priority"))
    assert [pk for pk, _ in ordered] == [new.pk, unsure.pk, sure.pk]
    assert [priority for _, priority in ordered] == pytest.approx([0.0, -0.2, -3.0])


def test_the_order_of_import_can_be_chosen_instead(project, scorer):
    score(scorer, ComparisonFactory(project=project), 2.0, -1.0)
    order_queue(project=project)
    project.queue_order = "imported"
    order_queue(project=project)
    assert set(QueueItem.objects.values_list("priority", flat=True)) == {0.0}


def test_only_the_scorer_that_orders_the_queue_counts(project, scorer):
    comparison = ComparisonFactory(project=project)
    other = Scorer.objects.create(project=project, name="Reward model 2", kind="reward_model")
    score(scorer, comparison, 1.0, 0.0)
    score(other, comparison, 5.0, 0.0)
    order_queue(project=project)
    assert QueueItem.objects.get().priority == -1.0
    use_for_queue(scorer=other)
    order_queue(project=project)
    assert QueueItem.objects.get().priority == -5.0


def test_a_batch_that_is_stored_twice_keeps_the_first_values(project, scorer):
    comparison = ComparisonFactory(project=project)
    score(scorer, comparison, 1.0, 0.0)
    score(scorer, comparison, 9.0, 9.0)
    assert sorted(Signal.objects.values_list("value", flat=True)) == [0.0, 1.0]


def test_what_is_left_is_a_query(project, scorer):
    done, left = ComparisonFactory.create_batch(2, project=project)
    ComparisonFactory()  # of another project
    score(scorer, done, 1.0, 0.0)
    assert set(unscored(scorer)) == {left.response_1, left.response_2}
    assert [job.inputs for job in score_new_responses(project=project)] == [{"scorer": scorer.pk}]
    score(scorer, left, 1.0, 0.0)
    assert score_new_responses(project=project) == []
    assert Response.objects.count() == 6


def test_scoring_twice_at_once_is_one_job(scorer):
    assert run_scorer(scorer=scorer).pk == run_scorer(scorer=scorer).pk


def test_pairs_on_which_rules_and_model_disagree_go_first(project, scorer):
    agree, disagree, unsaid = ComparisonFactory.create_batch(3, project=project)
    for comparison in (agree, disagree, unsaid):
        score(scorer, comparison, 0.0, 2.0)
    rules = Scorer.objects.create(project=project, name="Rule set 1", kind="rule_set", keeps_up=True)
    score(rules, agree, 0.0, 0.75)
    score(rules, disagree, 0.75, 0.25)
    project.queue_order = "rules"
    project.save()
    order_queue(project=project)
    # 1.001 plus the model's side times the difference of the rules' scores, to one significant digit.
    priorities = dict(QueueItem.objects.values_list("pk", "priority"))
    assert [priorities[each.pk] for each in (agree, unsaid, disagree)] == [-2.0, -1.0, -0.5]
    rules.delete()
    order_queue(project=project)
    assert set(QueueItem.objects.values_list("priority", flat=True)) == {-1.0}
