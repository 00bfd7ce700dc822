"""Fixtures that every folder uses: a project and people with each role in it."""

import pytest

from apps.accounts.models import User
from apps.projects.models import Membership, Project
from tests.factories import MembershipFactory, ProjectFactory, UserFactory


@pytest.fixture
def project(db: None) -> Project:
    return ProjectFactory(slug="tides", name="Tides")


@pytest.fixture
def manager(project: Project) -> User:
    return MembershipFactory(project=project, user__username="mara", role=Membership.Role.MANAGER).user


@pytest.fixture
def annotator(project: Project) -> User:
    return MembershipFactory(project=project, user__username="anna", role=Membership.Role.ANNOTATOR).user


@pytest.fixture
def researcher(project: Project) -> User:
    return MembershipFactory(project=project, user__username="remy", role=Membership.Role.RESEARCHER).user


@pytest.fixture
def stranger(db: None) -> User:
    return UserFactory(username="stella")
