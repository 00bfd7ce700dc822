"""A reviewer labels too: over REST they see what others said of a pair only once they have spoken, or it is settled."""

import pytest

from apps.labeling.leasing import lease_next
from apps.labeling.models import QueueItem
from apps.labeling.services import submit_annotation
from apps.projects.models import Membership
from tests.api.conftest import Api
from tests.factories import ComparisonFactory, MembershipFactory, answer

pytestmark = pytest.mark.django_db


@pytest.fixture
def reviewer(project):
    return MembershipFactory(project=project, role=Membership.Role.REVIEWER).user


def seen(user, comparison):
    """Return the number of annotations and the consensus' state, in the list and alone."""
    api = Api(user)
    annotations = len(api.get("projects/tides/annotations/").json()["results"])
    (listed,) = api.get("projects/tides/comparisons/").json()["results"]
    alone = api.get(f"projects/tides/comparisons/{comparison.pk}/").json()
    return annotations, listed["consensus"]["status"], alone["consensus"]["status"]


def test_answers_and_consensus_are_hidden_until_the_reviewer_has_answered(project, manager, annotator, reviewer):
    project.protocol_settings = {"annotators": 1}
    project.save()
    comparison = ComparisonFactory(project=project, queue__wanted=1)
    submit_annotation(assignment=lease_next(project=project, annotator=annotator, resume=False), body=answer())
    assert seen(reviewer, comparison) == (1, "agreed", "agreed")  # complete: nobody asks the reviewer any more
    QueueItem.objects.update(state="open", wanted=2)
    assert seen(reviewer, comparison) == (0, "pending", "pending")
    assert seen(manager, comparison) == (1, "agreed", "agreed")
    mine = lease_next(project=project, annotator=reviewer, resume=False)
    assert seen(reviewer, comparison) == (0, "pending", "pending")
    submit_annotation(assignment=mine, body=answer())
    assert seen(reviewer, comparison)[0] == 2
