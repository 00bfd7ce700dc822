"""Somebody signed in, a pair whose every secret has a recognisable name, and a browser."""

import os

import pytest
from django.conf import settings
from django.db import connection
from django.test import Client

from apps.accounts.models import User
from apps.labeling.leasing import lease_next
from apps.projects.models import Membership
from tests.e2e.browser import chromium
from tests.e2e.running import wait_until
from tests.factories import (
    PASSWORD,
    ComparisonFactory,
    MembershipFactory,
    ProjectFactory,
    PromptFactory,
    ResponseFactory,
    answer,
)


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
        response_1=ResponseFactory(prompt=prompt, text="Canonical first text"),
        response_2=ResponseFactory(prompt=prompt, text="Canonical second text"),
        model_1="secret-model-one",
        model_2="secret-model-two",
        external_id="secret-external-id",
        reference="secret-reference",
        metadata={"domain": "secret-domain"},
        gold=-3,
    )


@pytest.fixture
def labeler(db):
    """Return an annotator of a project with two waiting pairs."""
    project = ProjectFactory(slug="tides", name="Tides")
    for number in (1, 2):
        ComparisonFactory(project=project, prompt__messages=[{"role": "user", "content": f"Question number {number}"}])
    return MembershipFactory(project=project, user__username="anna").user


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


# --- In a browser ---


@pytest.fixture(scope="package")
def browser():
    # Playwright keeps an event loop in this thread, which Django would take for asynchronous code.
    os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"] = "true"
    with chromium() as started:
        yield started
    del os.environ["DJANGO_ALLOW_ASYNC_UNSAFE"]


@pytest.fixture
def open_page(browser, live_server):
    """Return a function that signs somebody in and opens an address."""
    contexts = []

    def open_it(user, path, **window):
        context = browser.new_context(base_url=live_server.url, **window)
        client = Client()
        client.force_login(user)
        session = {"name": settings.SESSION_COOKIE_NAME, "value": client.session.session_key}
        context.add_cookies([{**session, "url": live_server.url}])  # the form costs two pages a test
        contexts.append(context)
        page = context.new_page()
        page.console = []
        page.on("console", lambda message: page.console.append(message.text))
        page.on("pageerror", lambda error: page.console.append(str(error)))
        page.under_way = set()
        page.on("request", lambda request: page.under_way.add(request))
        page.on("requestfinished", lambda request: page.under_way.discard(request))
        page.on("requestfailed", lambda request: page.under_way.discard(request))
        page.goto(path)
        return page

    yield open_it
    for context in contexts:
        leave_quietly(context)
    wait_until(lambda: not busy_sessions(), 10, "no session of the database is busy")


def leave_quietly(context) -> None:
    """Close the window after the last things that a closing page sends: the tables are emptied right afterwards."""
    for page in context.pages:
        page.evaluate("document.querySelector('[data-answer]')?.remove(), dispatchEvent(new Event('pagehide'))")
        wait_until(lambda page=page: is_quiet(page), 10, "no request is under way")
    context.close()


def is_quiet(page) -> bool:
    return page.evaluate("true") and not getattr(page, "under_way", ())


def busy_sessions() -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND state <> 'idle'"
        )
        return cursor.fetchone()[0]


def sign_in(page, username, path="/"):
    page.goto(f"/login/?next={path}")
    page.get_by_label("Username").fill(username)
    page.get_by_label("Password").fill(PASSWORD)
    page.get_by_role("button", name="Sign in").click()
    page.wait_for_url(lambda url: "/login/" not in url)  # and its scripts: keys pressed earlier are lost
