"""Answers in the database: made one by one through the services, or many at once."""

import pytest
from django.utils import timezone

from apps.accounts.models import User
from apps.labeling.consensus import settle
from apps.labeling.models import Annotation, Assignment, QueueItem
from apps.projects.models import Membership
from apps.prompts.models import Comparison, Prompt, Response
from tests.factories import MembershipFactory, ratings


@pytest.fixture
def reviewer(project):
    return MembershipFactory(project=project, user__username="rita", role=Membership.Role.REVIEWER).user


def store(project, made, *, pairs_with_gold=()) -> list[User]:
    """Store what simulated people answered, settle it, and return the people in their order."""
    people = User.objects.bulk_create([User(username=f"person-{n}-{habit}") for n, habit in enumerate(made.habits)])
    names = range(len(made.truth))
    prompts = Prompt.objects.bulk_create(
        [Prompt(project=project, messages=[{"role": "user", "content": str(n)}], content_hash=str(n)) for n in names]
    )
    lengths = [(20, 30 if longer else 10) for longer in made.second_is_longer.tolist()]
    texts = [
        Response(prompt=prompt, text="ö" * length, content_hash=str(side))
        for prompt, pair in zip(prompts, lengths, strict=True)
        for side, length in enumerate(pair)
    ]
    responses = Response.objects.bulk_create(texts)
    comparisons = Comparison.objects.bulk_create(
        [
            Comparison(
                project=project,
                prompt=prompts[n],
                response_1=responses[2 * n],
                response_2=responses[2 * n + 1],
                external_id=f"pair-{n}",
                gold=int(made.truth[n]) if n in pairs_with_gold else None,
            )
            for n in names
        ]
    )
    state = QueueItem.State
    QueueItem.objects.bulk_create(
        [
            QueueItem(
                comparison=comparison,
                project=project,
                wanted=100,
                shuffle_key=0.5,
                state=state.CONTROL if comparison.gold else state.OPEN,
            )
            for comparison in comparisons
        ]
    )
    guideline = project.current_guideline()
    shared = {"project": project, "guideline_version": guideline}
    rows = list(
        zip(made.pair.tolist(), made.person.tolist(), made.preference.tolist(), made.swapped.tolist(), strict=True)
    )
    assignments = Assignment.objects.bulk_create(
        [
            Assignment(
                comparison=comparisons[pair],
                annotator=people[person],
                state=Assignment.State.SUBMITTED,
                swapped=swapped,
                drawn="priority",
                lease_expires_at=timezone.now(),
                **shared,
            )
            for pair, person, _preference, swapped in rows
        ]
    )
    Annotation.objects.bulk_create(
        [
            Annotation(
                assignment=assignment,
                comparison=assignment.comparison,
                annotator=assignment.annotator,
                preference=preference,
                swapped=swapped,
                ratings_1=ratings(2 if preference > 0 else 4),
                ratings_2=ratings(3),
                justification=f"Pair {pair}",
                active_seconds=40,
                pasted_characters=None,
                answer_hash="x",
                **shared,
            )
            for assignment, (pair, _person, preference, swapped) in zip(assignments, rows, strict=True)
        ]
    )
    settle(comparison_ids=[comparison.pk for comparison in comparisons], protocol=project.protocol)
    return people
