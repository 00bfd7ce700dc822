"""Somebody signed in, and a pair whose every secret has a recognisable name."""

import pytest
from django.test import Client

from apps.accounts.models import User
from apps.labeling.services import lease_next
from apps.projects.models import Membership
from tests.factories import ComparisonFactory, MembershipFactory, PromptFactory, ResponseFactory, answer


@pytest.fixture
def as_user():
    """Return a function that signs a person in."""

    def sign_in(user: User, **headers: str) -> Client:
        client = Client(**headers)
        client.force_login(user)
        return client

    return sign_in


@pytest.fixture
def reviewer(project):
    return MembershipFactory(project=project, user__username="rita", role=Membership.Role.REVIEWER).user


@pytest.fixture
def pair(project):
    """Return a comparison that holds everything an annotator must not see."""
    prompt = PromptFactory(
        project=project,
        messages=[
            {"role": "user", "content": "Earlier question about tides"},
            {"role": "assistant", "content": "Earlier answer about tides"},
            {"role": "user", "content": "Why **two** tides a day?"},
        ],
    )
    return ComparisonFactory(
        project=project,
        prompt=prompt,
        response_1=ResponseFactory(prompt=prompt, text="Canonical first text", model="secret-model-one"),
        response_2=ResponseFactory(prompt=prompt, text="Canonical second text", model="secret-model-two"),
        external_id="secret-external-id",
        reference="secret-reference",
        metadata={"domain": "secret-domain"},
        gold=-3,
    )


@pytest.fixture
def lease(project, annotator):
    """Return a function that leases the annotator's next pair, with the sides as asked."""

    def take(*, swapped: bool = False):
        assignment = lease_next(project=project, annotator=annotator, resume=True)
        assignment.swapped = swapped
        assignment.save(update_fields=["swapped"])
        return assignment

    return take


def posted(**changes):
    """Return a valid answer as the page's form posts it."""
    body = answer(**changes)
    fields = {"preference": body["preference"], "justification": body["justification"]}
    fields |= {"active_seconds": body["active_seconds"]}
    for label, side in body["ratings"].items():
        fields |= {f"rating-{label}-{name}": value for name, value in side.items()}
    return fields
