"""Acquisition functions order the queue; how likely a hand-out was is stored with it and exported."""

import pytest

from apps.labeling.leasing import lease_next
from apps.labeling.models import QueueItem
from apps.labeling.queue import propensity
from apps.projects.models import AuditEvent, Project
from apps.signals.acquisition import ACQUISITIONS
from apps.signals.models import MarginSpread, Scorer
from apps.signals.services import order_queue, store_spreads, without_spread
from tests.api.conftest import Api, pointers
from tests.factories import ComparisonFactory, MembershipFactory
from tests.signals.test_queue_order import score

pytestmark = pytest.mark.django_db


@pytest.fixture
def scorer(project):
    return Scorer.objects.create(project=project, name="Reward model 1", kind="reward_model", orders_queue=True)


def priorities(project, order):
    project.queue_order = order
    project.save()
    order_queue(project=project)
    return list(QueueItem.objects.order_by("comparison").values_list("priority", flat=True))


def test_every_order_by_the_model_alone_has_a_function():
    assert set(ACQUISITIONS) == set(Project.QueueOrder) - {Project.QueueOrder.IMPORTED, Project.QueueOrder.RULES}


def test_each_function_by_hand(project, scorer):
    even, far, unsure, new = ComparisonFactory.create_batch(4, project=project)
    score(scorer, even, 0.0, 1.0)
    score(scorer, far, 3.0, -4.0)
    score(scorer, unsure, 1.0, 0.0)
    store_spreads(scorer=scorer, spreads={even.pk: 1.0, far.pk: 100.0, unsure.pk: 2.0})
    assert priorities(project, "uncertain") == [-1.0, -7.0, -1.0, 0.0]
    # 1 / (1 + margin) to one digit: 1/2, 1/8, 1/2
    assert priorities(project, "high_gap") == [-0.5, -0.1, -0.5, 0.0]
    # (e^m + 2 + e^-m) / std^2: 5.09 / 1, 1098.6 / 10^4, 5.09 / 4
    assert priorities(project, "fisher") == pytest.approx([-5.0, -0.1, -1.0, 0.0])
    assert new.pk not in MarginSpread.objects.values_list("comparison", flat=True)


@pytest.mark.parametrize("order", list(ACQUISITIONS))
def test_extreme_rewards_order_a_queue_too(project, scorer, order):
    for first, second in ((1e300, -1e300), (float("inf"), 0.0), (float("nan"), 0.0), (0.5, 0.5)):
        score(scorer, ComparisonFactory(project=project), first, second)
    assert len(priorities(project, order)) == 4


def test_spreads_are_asked_for_only_where_the_order_needs_them(project, scorer):
    open_pair = ComparisonFactory(project=project)
    ComparisonFactory(project=project, queue__state="complete")
    assert not without_spread(scorer).exists()
    Project.objects.update(queue_order="fisher")
    scorer.project.refresh_from_db()
    assert list(without_spread(scorer)) == [open_pair]
    store_spreads(scorer=scorer, spreads={open_pair.pk: 1.0})
    store_spreads(scorer=scorer, spreads={open_pair.pk: 9.0})  # of a task that ran twice
    assert MarginSpread.objects.get().std == 1.0
    assert not without_spread(scorer).exists()


def test_the_propensity_of_the_mix_by_hand():
    mix = {"random_share": 0.2, "control_rate": 0.1, "repeat_rate": 0.15}
    # 3/4 of the hand-outs are of the mix; of them a fifth is one of 40 by chance, the rest the first in line
    assert propensity("random", **mix, open_pairs=40) == pytest.approx(0.75 * 0.2 / 40)
    assert propensity("priority", **mix, open_pairs=40) == pytest.approx(0.75 * (0.8 + 0.2 / 40))
    assert propensity("priority", **mix, open_pairs=None) is None
    assert propensity("priority", **mix, open_pairs=0) is None


@pytest.mark.parametrize(("share", "drawn", "expected"), [(0.0, "priority", 1.0), (1.0, "random", 0.25)])
def test_a_lease_notes_its_propensity_once_the_queue_was_ordered(project, share, drawn, expected):
    person = MembershipFactory(project=project).user
    ComparisonFactory.create_batch(4, project=project)
    project.random_share = share
    project.save()
    before = lease_next(project=project, annotator=person, resume=False)
    assert (before.drawn, before.propensity) == (drawn, None)
    order_queue(project=project)
    project.refresh_from_db()
    assert project.open_when_ordered == 4
    assert lease_next(project=project, annotator=person, resume=False).propensity == pytest.approx(expected)


def test_the_order_is_changed_over_rest(project, manager, scorer):
    score(scorer, ComparisonFactory(project=project), 2.0, -1.0)
    api = Api(manager)
    reply = api.call("PATCH", "projects/tides/", {"queue_order": "high_gap", "random_share": 0.5, "name": "Ebb"}).json()
    assert (reply["queue_order"], reply["random_share"], reply["name"]) == ("high_gap", 0.5, "Ebb")
    assert QueueItem.objects.get().priority == pytest.approx(-0.3)  # 1/4, to one digit
    assert AuditEvent.objects.filter(actor=manager, verb="changed the queue").count() == 1
    for wrong in ({"queue_order": "best"}, {"random_share": 1.5}, {"random_share": "x"}):
        assert pointers(api.call("PATCH", "projects/tides/", wrong)) == [f"/{next(iter(wrong))}"]
    assert not scorer.project.jobs.filter(kind="scoring").exists()
    api.call("PATCH", "projects/tides/", {"queue_order": "fisher"})
    assert scorer.project.jobs.filter(kind="scoring").exists()  # which finds out how sure the model is
