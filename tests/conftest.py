"""Fixtures that every folder uses: a project and people with each role in it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from django.db import connection
from django.test import TransactionTestCase
from pytest_django import DjangoDbBlocker

from apps.accounts.models import User
from apps.projects.models import Membership, Project
from tests.factories import MembershipFactory, ProjectFactory, UserFactory

RUNS_PROCESSES = ("e2e", "services")
# Django's own flush empties every table and then makes content types and permissions again: 30 times as slow.
EMPTY_WHAT_HAS_ROWS = """
DO $$
DECLARE name regclass; has_rows boolean;
BEGIN
    FOR name IN SELECT c.oid::regclass FROM pg_class c
        WHERE relnamespace = 'public'::regnamespace AND relkind = 'r'
        AND relname NOT IN ('django_migrations', 'django_content_type', 'auth_permission')
    LOOP
        EXECUTE format('SELECT EXISTS (SELECT FROM %s)', name) INTO has_rows;
        IF has_rows THEN EXECUTE format('TRUNCATE %s CASCADE', name); END IF;
    END LOOP;
END $$
"""


def _empty_tables(case: TransactionTestCase) -> None:
    with connection.cursor() as cursor:
        cursor.execute(EMPTY_WHAT_HAS_ROWS)


TransactionTestCase._fixture_teardown = _empty_tables


@pytest.hookimpl(tryfirst=True)  # xdist writes the groups into the names of the tests in the same hook
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that start the product's processes in one of xdist's workers, one after another."""
    tests = Path(__file__).parent
    for item in items:
        if item.path.relative_to(tests).parts[0] in RUNS_PROCESSES:
            item.add_marker(pytest.mark.xdist_group("processes"))


def pytest_collection_finish(session: pytest.Session) -> None:
    """Refuse an xdist that does not see the groups: each of its workers would run a Tiebreak of its own."""
    if not getattr(session.config.option, "loadgroup", False):
        return
    for item in session.items:
        if item.get_closest_marker("xdist_group") and not item.nodeid.endswith("@processes"):
            raise pytest.UsageError(f"xdist has not put {item.nodeid} into its group; see the limits in pyproject.toml")


@pytest.fixture(scope="session")
def django_db_setup(django_db_setup: None, django_db_blocker: DjangoDbBlocker) -> Iterator[None]:
    """Close what threads of a test's server still hold, or the database waits five seconds for them and stays."""
    yield
    with django_db_blocker.unblock(), connection.cursor() as cursor:
        cursor.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )


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
