"""Cursors name ids, so that writes between two pages neither repeat nor skip what was there."""

import threading

import pytest
from django.db import connection
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from apps.api.pagination import decode_cursor, encode_cursor
from apps.core.errors import InvalidInput
from apps.prompts.models import Comparison
from tests.api.conftest import Api, pointers
from tests.api.test_walk import undone
from tests.factories import ComparisonFactory, MembershipFactory

pytestmark = pytest.mark.django_db
PATH = "projects/tides/comparisons/"


@pytest.fixture
def api(manager):
    return Api(manager)


def read(api, address):
    return api.client.get(address).json()


def names(page):
    return [row["external_id"] for row in page["results"]]


def test_pages_follow_each_other_in_both_directions(api, project):
    made = [ComparisonFactory(project=project).external_id for _ in range(7)]
    first = api.get(f"{PATH}?page_size=3").json()
    second = read(api, first["next"])
    third = read(api, second["next"])
    assert [names(first), names(second), names(third)] == [made[:3], made[3:6], made[6:]]
    assert (first["previous"], third["next"]) == (None, None)
    back = read(api, third["previous"])
    assert names(back) == made[3:6]
    assert names(read(api, back["previous"])) == made[:3]
    assert read(api, back["previous"])["previous"] is None
    assert names(read(api, back["next"])) == made[6:]


def test_writes_between_two_pages_repeat_and_skip_nothing(api, project):
    made = [ComparisonFactory(project=project) for _ in range(6)]
    page = api.get(f"{PATH}?page_size=2").json()
    seen = names(page)
    Comparison.objects.filter(pk__in=[made[0].pk, made[3].pk]).delete()  # one read already, one not
    added = ComparisonFactory(project=project).external_id
    while page["next"]:
        page = read(api, page["next"])
        seen += names(page)
    assert seen == [made[position].external_id for position in (0, 1, 2, 4, 5)] + [added]


def test_an_exact_last_page_has_no_next(api, project):
    ComparisonFactory.create_batch(4, project=project)
    assert read(api, api.get(f"{PATH}?page_size=2").json()["next"])["next"] is None


def test_an_empty_list_is_one_empty_page(api, project):
    assert api.get(PATH).json() == {"results": [], "next": None, "previous": None}


def test_a_page_whose_rows_are_gone_leads_back(api, project):
    made = [ComparisonFactory(project=project) for _ in range(3)]
    first = api.get(f"{PATH}?page_size=2").json()
    made[2].delete()
    empty = read(api, first["next"])
    assert names(empty) == []
    assert names(read(api, empty["previous"])) == [made[0].external_id, made[1].external_id]


def test_filters_stay_in_the_links(api, project):
    ComparisonFactory.create_batch(3, project=project)
    ComparisonFactory(project=project, queue__state="closed")
    page = api.get(f"{PATH}?page_size=2&state=open").json()
    assert len(names(read(api, page["next"]))) == 1


@pytest.mark.parametrize("size", ["0", "501", "-1", "x", "", "1.5", "9" * 20, "\u0663"])
def test_a_wrong_page_size_is_422(api, size):
    assert pointers(api.get(PATH, query_params={"page_size": size})) == ["/page_size"]


@pytest.mark.parametrize(
    "cursor",
    [
        "",
        "x",
        "\x00",
        "WzFd",
        encode_cursor(("after", 2**63)),
        encode_cursor(("up", 1)),
        encode_cursor(("after", True)),
    ],
)
def test_a_wrong_cursor_is_422(api, cursor):
    assert pointers(api.get(PATH, query_params={"cursor": cursor})) == ["/cursor"]


def test_a_cursor_survives_its_encoding():
    assert decode_cursor(encode_cursor(("before", 12345))) == ("before", 12345)
    with pytest.raises(InvalidInput):
        decode_cursor("W" * 100_000)


def test_a_list_costs_the_same_for_one_row_and_for_many(api, project, django_assert_num_queries):
    ComparisonFactory(project=project)
    api.get(PATH)
    with django_assert_num_queries(4):  # token, membership, page, scorer
        api.get(PATH)
    ComparisonFactory.create_batch(10, project=project)
    with django_assert_num_queries(4):
        rows = api.get(PATH).json()["results"]
    assert len(rows) == 11


# --- Nothing is skipped or read twice, whoever writes meanwhile ---

WRITES = st.lists(st.tuples(st.sampled_from(["add", "delete"]), st.integers(0, 30)), max_size=4)


@settings(max_examples=25, derandomize=True, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(between=st.lists(WRITES, max_size=8), size=st.integers(1, 4), backwards=st.booleans())
def test_whatever_is_written_between_pages_what_stays_is_read_once_and_in_order(api, project, between, size, backwards):
    """Between any two pages rows come and go anywhere in the list, what was read and what was not yet."""
    with undone():
        there = [ComparisonFactory(project=project).pk for _ in range(9)]
        stayed, steps = set(there), iter(between)
        address = f"/api/v1/{PATH}?page_size={size}&fields=id"
        if backwards:
            address += f"&cursor={encode_cursor(('before', max(there) + 1))}"
        seen = []
        for _ in range(60):
            page = read(api, address)
            ids = [int(row["id"]) for row in page["results"]]
            seen = ids + seen if backwards else seen + ids
            address = page["previous" if backwards else "next"]
            if address is None:
                break
            for what, place in next(steps, ()):
                if what == "add":
                    ComparisonFactory(project=project)
                elif there:
                    gone = there.pop(place % len(there))
                    stayed.discard(gone)
                    Comparison.objects.filter(pk=gone).delete()
        assert address is None, "The list has no end."
        assert seen == sorted(set(seen))
        assert stayed <= set(seen)


@pytest.mark.django_db(transaction=True)
def test_a_reader_beside_writers_reads_what_stays_exactly_once(project, manager):
    """Two writers insert and delete all the time, each in transactions of their own, while somebody pages."""
    api = Api(manager)
    stays = {ComparisonFactory(project=project).pk for _ in range(40)}
    other = MembershipFactory().project
    stop, written = threading.Event(), [0, 0]

    def write(number):
        try:
            while not stop.is_set():
                row = ComparisonFactory(project=project if written[number] % 3 else other)
                if written[number] % 2:
                    row.delete()
                written[number] += 1
        finally:
            connection.close()

    writers = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for writer in writers:
        writer.start()
    try:
        for _ in range(5):
            seen, address = [], f"/api/v1/{PATH}?page_size=3&fields=id"
            while address and len(seen) < 2000:
                page = read(api, address)
                seen += [int(row["id"]) for row in page["results"]]
                address = page["next"] if not stays <= set(seen) or len(seen) < 60 else None
            assert seen == sorted(set(seen))
            assert stays <= set(seen)
    finally:
        stop.set()
        for writer in writers:
            writer.join(20)
    assert min(written) > 5
