"""Both clients against the real server: one core, the same answers, errors that say what is wrong."""

import asyncio
import time
import traceback

import pytest

import tiebreak
from apps.accounts.services import create_token
from apps.jobs.models import Job as JobRow
from apps.projects.models import Project
from tests.client.conftest import QUICK, answering, row
from tests.factories import MembershipFactory, ProjectFactory
from tiebreak import AsyncTiebreak, Tiebreak, calls


def test_projects_are_read_and_made(client):
    (found,) = client.projects()
    assert (found.slug, found.name, found.role, found.guideline) == (
        "tides",
        "Tides",
        "manager",
        "Read both responses.",
    )
    made = client.create_project("waves", "Waves", guideline="# Read", protocol={"annotators": 2})
    assert (made.slug, made.protocol["annotators"]) == ("waves", 2)
    assert client.project("waves") == made
    assert [project.slug for project in client.projects()] == ["tides", "waves"]


def test_a_list_is_read_page_by_page(client, manager, monkeypatch):
    for number in range(7):
        MembershipFactory(project=ProjectFactory(slug=f"p-{number}"), user=manager, role="manager")
    monkeypatch.setattr(calls, "PAGE_SIZE", "3")
    assert [project.slug for project in client.projects()] == ["tides", *(f"p-{n}" for n in range(7))]


def test_the_way_from_a_file_to_a_dataset(client, worker, pairs_file, tmp_path):
    started = client.import_file("tides", pairs_file)
    job = client.wait(started, timeout=30)
    assert (job.state, job.result["created"], job.result["rejected"]) == ("succeeded", 20, 0)
    assert [each.external_id for each in client.comparisons("tides", external_id="q-7")] == ["q-7"]
    comparison = next(client.comparisons("tides"))
    assert (comparison.consensus.status, comparison.consensus.preference) == ("agreed", -2)
    assert comparison.annotation_count == 3
    annotations = list(client.annotations("tides"))
    assert len(annotations) == 60
    assert {each.preference for each in annotations} == {-2}
    frozen = client.create_snapshot("tides", "First", splits={"train": 0.5, "test": 0.5}, seed=3)
    client.wait(frozen, timeout=30)
    snapshot = client.snapshot(frozen.id)
    assert snapshot.ready
    assert client.download(snapshot, "trl-preference", "train", tmp_path / "out" / "train.jsonl").stat().st_size > 0
    assert [each.id for each in client.snapshots("tides")] == [snapshot.id]
    assert {each.kind for each in client.jobs("tides", state="succeeded")} == {"import", "snapshot"}


def test_the_asynchronous_client_does_the_same(live_server, token, worker, pairs_file, tmp_path):
    seen: list[tuple[int, int, str]] = []

    async def script():
        async with AsyncTiebreak(live_server.url, token, retries=QUICK) as client:
            started = await client.import_file("tides", pairs_file)
            # Two things at once, on one connection pool.
            job, project = await asyncio.gather(
                client.wait(started, timeout=30, progress=lambda *said: seen.append(said)), client.project("tides")
            )
            frozen = await client.create_snapshot("tides", "First", splits={"train": 1.0})
            await client.wait(frozen, timeout=30)
            path = await client.download(frozen.id, "annotations", "train", tmp_path / "train.jsonl")
            names = [each.external_id async for each in client.comparisons("tides")]
            return job, project, path, names

    job, project, path, names = asyncio.run(script())
    assert job.result["created"] == 20
    assert project.slug == "tides"
    assert len(path.read_text().splitlines()) == 20
    assert sorted(names) == sorted(f"q-{number}" for number in range(20))
    assert seen


def test_both_clients_have_the_same_methods():
    def public(kind):
        return {name for name in vars(kind) if not name.startswith("_")}

    assert public(Tiebreak) == public(AsyncTiebreak)


def test_what_the_server_refuses_is_an_error_with_its_words(client, live_server, manager):
    with pytest.raises(tiebreak.NotFound, match="no such project") as missing:
        client.project("nowhere")
    assert missing.value.status == 404
    with pytest.raises(tiebreak.InvalidInput) as refused:
        client.create_project("Not a slug", "x" * 200)
    assert sorted(each.pointer for each in refused.value.errors) == ["/name"]
    with pytest.raises(tiebreak.InvalidInput, match="/slug: Use small letters"):
        client.create_project("Not a slug", "x")
    with pytest.raises(tiebreak.NotSignedIn):
        Tiebreak(live_server.url, "tb_wrong", retries=QUICK).project("tides")
    reader = create_token(user=manager, name="reader", scope="read")[1]
    with pytest.raises(tiebreak.NotAllowed, match="may only read"):
        Tiebreak(live_server.url, reader, retries=QUICK).create_project("waves", "Waves")


def test_a_job_that_fails_is_an_error_that_carries_it(client, manager):
    project = Project.objects.get()
    job = JobRow.objects.create(project=project, kind="scoring", state="failed", error="The model is gone.")
    with pytest.raises(tiebreak.JobFailed, match="The model is gone") as failed:
        client.wait(str(job.pk))
    assert failed.value.job.state == "failed"
    waiting = JobRow.objects.create(project=project, kind="scoring")
    with pytest.raises(tiebreak.TimedOut, match="still queued"):
        client.wait(str(waiting.pk), timeout=0.1)
    assert client.cancel(str(waiting.pk)).state == "cancelled"


def test_no_text_of_the_client_or_its_errors_has_the_token(live_server, token):
    client = Tiebreak("http://127.0.0.1:9", token, retries=tiebreak.Retries(attempts=1))
    with pytest.raises(tiebreak.NetworkError) as broken:
        client.project("tides")
    ours = broken.value.__traceback__.tb_next  # the first frame is this test's, which knows the token
    stack = traceback.TracebackException(type(broken.value), broken.value, ours, capture_locals=True)
    assert "_carry_out" in "".join(stack.format())
    said = repr(client) + str(client) + repr(vars(client)) + "".join(stack.format())
    assert token not in said
    assert broken.value.__cause__ is None


@pytest.mark.parametrize("address", ["", "tides.example.org", "ftp://x", "https://u:p@x", "https://x/?a=b", "https://"])
def test_an_address_that_is_none_is_refused(address):
    with pytest.raises(tiebreak.TiebreakError):
        Tiebreak(address, "tb_x")


@pytest.mark.parametrize("token", ["", "two words", "line\r\nX-Other: header", "ü", "x" * 201])
def test_a_token_that_is_none_is_refused_without_showing_it(token):
    with pytest.raises(tiebreak.TiebreakError) as refused:
        Tiebreak("https://example.org", token)
    assert token == "" or token not in str(refused.value)


@pytest.mark.parametrize("odd", ["..", ".", ""])
def test_an_id_cannot_climb_out_of_its_place(client, odd):
    with pytest.raises(ValueError, match="is not an id"):
        client.project(odd)


def test_an_id_with_slashes_stays_one_segment(client):
    with pytest.raises(tiebreak.NotFound):
        client.project("../../livez?x=")


def test_the_token_goes_to_no_other_server(token):
    """A server (or somebody on the way) that names another address for the next page gets nothing of it."""
    asked = []

    def lying(request):
        asked.append(request.path)
        more = "null" if "cursor" in request.path else '"http://elsewhere.invalid/api/v1/projects/?cursor=c2"'
        return 200, {}, f'{{"results": [], "previous": null, "next": {more}}}'.encode()

    with answering(lying) as url, Tiebreak(url, token, retries=QUICK) as client:
        assert list(client.projects()) == []
    assert asked == ["/api/v1/projects/?page_size=500", "/api/v1/projects/?cursor=c2"]


def test_something_else_that_answers_is_no_tiebreak(live_server, token):
    with pytest.raises(tiebreak.TiebreakError, match=r"404|no such address|not JSON"):
        Tiebreak(f"{live_server.url}/login", token, retries=QUICK).project("tides")


# --- Networks that break ---


def test_a_get_is_sent_again_when_the_connection_breaks(proxy, token):
    proxy.down = lambda number: 40 if number < 3 else None
    with Tiebreak(proxy.url, token, retries=QUICK) as client:
        assert client.project("tides").name == "Tides"
    assert proxy.connections == 4


def test_there_is_an_end_to_it(proxy, token):
    proxy.down = lambda number: 40
    with Tiebreak(proxy.url, token, retries=QUICK) as client, pytest.raises(tiebreak.NetworkError, match="broke"):
        client.project("tides")
    assert proxy.connections == QUICK.attempts


def test_a_post_carries_the_same_key_each_time(token):
    """Whoever answered the first time may have done it: the key tells the server that it is the same request."""
    keys = []
    with (
        answering(
            lambda request: keys.append(request.headers["Idempotency-Key"]) or (None if len(keys) < 3 else 201)
        ) as url,
        Tiebreak(url, token, retries=QUICK) as client,
    ):
        client.request("POST", "projects/", {"slug": "x"})
        client.request("POST", "projects/", {"slug": "y"})
    assert len(keys) == 4
    assert keys[0] == keys[1] == keys[2] != keys[3]


def test_a_busy_server_is_asked_again_after_as_long_as_it_says(token):
    times = []

    def busy(request):
        times.append(time.monotonic())
        return (429, {"Retry-After": "1"}) if len(times) == 1 else 503 if len(times) == 2 else 200

    with answering(busy) as url, Tiebreak(url, token, retries=QUICK) as client:
        client.request("GET", "projects/")
    assert len(times) == 3
    assert times[1] - times[0] >= 1


def test_a_request_whose_first_sending_is_still_under_way_waits_for_its_answer(token):
    seen = []

    def under_way(request):
        seen.append(request.headers["Idempotency-Key"])
        return (409, {"Retry-After": "0"}) if len(seen) < 3 else 201

    with answering(under_way) as url, Tiebreak(url, token, retries=QUICK) as client:
        client.request("POST", "projects/", {"slug": "x"})
    assert len(seen) == 3
    assert len(set(seen)) == 1
    with answering(lambda request: 409) as url:
        client = Tiebreak(url, token, retries=QUICK)
        with pytest.raises(tiebreak.Conflict):  # for good: it says nothing of a later time
            client.request("POST", "projects/", {"slug": "x"})


def test_who_asks_for_too_much_time_is_not_waited_for(token):
    with (
        answering(lambda request: (429, {"Retry-After": "86400"})) as url,
        Tiebreak(url, token) as client,
        pytest.raises(tiebreak.TooManyRequests),
    ):
        client.request("GET", "projects/")


def test_a_patch_is_not_sent_twice(token):
    seen = []
    with (
        answering(lambda request: seen.append(request)) as url,
        Tiebreak(url, token, retries=QUICK) as client,
        pytest.raises(tiebreak.NetworkError),
    ):
        client.request("PATCH", "projects/tides/", {"name": "x"})
    assert len(seen) == 1


def test_retrying_an_import_through_a_flaky_network_imports_once(proxy, token, worker, client):
    proxy.down = lambda number: 30 if number < 2 else None
    with Tiebreak(proxy.url, token, retries=QUICK) as shaky:
        started = shaky.import_items("tides", [row(number) for number in range(5)])
        shaky.wait(started, timeout=30)
    assert len(list(client.comparisons("tides"))) == 5
