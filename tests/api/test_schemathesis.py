"""schemathesis makes requests from the schema, right ones and wrong ones: no crash, and no reply it does not describe.

The run is bounded and always the same. `SCHEMATHESIS_EXAMPLES=200 make test PYTEST_ARGS="-k schemathesis"` looks longer
and at other requests each time.
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import schemathesis
from django.core import signals
from django.core.management import call_command
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from apps.accounts.models import User
from config.wsgi import application
from tests.api.conftest import Api, World
from tests.api.test_walk import address, undone

EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "0"))
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]
CHECKS_OF_A_PART = CHECKS[:-1]
"""Some bytes of a JSON file are no JSON, though their content type is the file's."""
CHECKS_WITHOUT_REWARDS = CHECKS[1:]
"""No reward server runs beside this test, and 503 is how the API says so."""
BOUNDED = settings(
    max_examples=EXAMPLES or 3,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    phases=[Phase.generate] if not EXAMPLES else [Phase.generate, Phase.shrink],
    suppress_health_check=list(HealthCheck),
)
schemathesis.serializer.alias("application/offset+octet-stream", "application/octet-stream")
pytestmark = pytest.mark.django_db


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("schema") / "openapi.yaml"
    call_command("spectacular", file=str(path), validate=True, fail_on_warn=True)
    made = schemathesis.openapi.from_path(path)
    made.app = application
    return made


@contextmanager
def one_connection() -> Iterator[None]:
    """Keep the test's connection, which a request begins and ends with closing, as Django's own client keeps it."""
    ends = (signals.request_started, signals.request_finished)
    for end in ends:
        end.disconnect(close_old_connections)
    try:
        yield
    finally:
        for end in ends:
            end.connect(close_old_connections)


def checks_of(status: int) -> list[Any]:
    """Return what must be true of a reply with this status."""
    return {206: CHECKS_OF_A_PART, 503: CHECKS_WITHOUT_REWARDS}.get(status, CHECKS)


def known_parts(path: str, world: World) -> dict[str, str]:
    """Return the parameters of an address that lead to something that is there."""
    route = path.removeprefix("/api/v1/").removeprefix("/")
    for name, kind in (
        ("slug", "slug"),
        ("username", "path"),
        ("id", "str"),
        ("other_id", "str"),
        ("export_format", "str"),
        ("file", "str"),
    ):
        route = route.replace(f"{{{name}}}", f"<{kind}:{name}>")
    asked, filled = route.split("/"), address(route, world).split("/")
    return {part[1:-1].split(":")[1]: filled[place] for place, part in enumerate(asked) if part.startswith("<")}


def test_every_operation_is_tried(schema: Any) -> None:
    assert len(list(schema.get_all_operations())) > 40


@pytest.mark.parametrize("mode", GenerationMode)
def test_schemathesis(
    schema: Any, world: World, annotator: User, researcher: User, manager: User, mode: GenerationMode
) -> None:
    people = {"annotator": annotator, "researcher": researcher, "manager": manager}
    apis = {who: Api(user, scope="admin") for who, user in people.items()}
    for api in apis.values():
        api.get("projects/")  # notes the token's use once, not inside each call that is undone
    headers = {who: api.headers for who, api in apis.items()}
    if mode is GenerationMode.POSITIVE:
        headers["nobody"] = {}  # whatever nobody sends, the answer is 401
    failures = []
    for result in schema.get_all_operations():
        operation = result.ok()
        if mode is GenerationMode.NEGATIVE and not (list(operation.query) or list(operation.body)):
            continue  # there is nothing in it that could be wrong
        try:
            explore(operation, headers, known_parts(operation.path, world), mode)
        except Exception as failure:  # noqa: BLE001  (all of them are shown at the end)
            failures.append(f"{operation.method.upper()} {operation.path}\n{failure}")
    assert not failures, "\n\n".join(failures)


def explore(operation: Any, headers: dict[str, dict[str, str]], parts: dict[str, str], mode: GenerationMode) -> None:
    """Send a few requests of one operation as each person; every one in a transaction that is undone.

    Making a request up takes longer than answering it, so everybody sends the same ones.
    """

    @BOUNDED
    @given(case=operation.as_strategy(generation_mode=mode), draw=st.integers(0, 4))
    def check(case: Any, draw: int) -> None:
        if draw < 4:  # as a rule, and first of all, at the address of something that is there
            case.path_parameters = {**(case.path_parameters or {}), **parts}
        if isinstance(case.query, dict):
            case.query.pop("fields", None)  # with it a reply has less than the schema says, as it should
        case.headers = {name: value for name, value in (case.headers or {}).items() if name != "Authorization"}
        for who, signed in headers.items():
            with undone(), one_connection():
                response = case.call(headers=signed)
            try:
                case.validate_response(response, checks=checks_of(response.status_code))
            except Exception as failure:
                raise AssertionError(f"As {who}: {failure}") from failure

    check()
