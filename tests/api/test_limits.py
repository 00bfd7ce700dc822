"""How often one caller may ask, for all web processes together, and what they are told about it."""

import threading

import pytest
from django.db import connection
from django.test import Client

from apps.core.addresses import client_address, network_of
from apps.core.allowances import Limit, forget_full, give_back, look, spend
from apps.core.models import Allowance
from tests.api.conftest import Api, problem
from tests.factories import PASSWORD

LIST = "/api/v1/projects/"
TEN = Limit("test", 10, 3600.0)  # an hour: nothing comes back while a test runs


@pytest.mark.django_db
def test_a_bucket_gives_what_it_holds_and_then_nothing():
    lefts = [spend("somebody", TEN) for _ in range(12)]
    assert [left.units for left in lefts] == [9, 8, 7, 6, 5, 4, 3, 2, 1, 0, 0, 0]
    assert [left.refused for left in lefts] == [False] * 10 + [True] * 2
    assert lefts[0].seconds == 360
    assert lefts[-1].retry_after == 360
    assert spend("somebody else", TEN).units == 9


@pytest.mark.django_db
def test_it_fills_again_evenly():
    for _ in range(10):
        spend("somebody", TEN)
    Allowance.objects.update(full_at=Allowance.objects.get().full_at - 2 * 360)  # twelve minutes later
    assert [spend("somebody", TEN).refused for _ in range(3)] == [False, False, True]
    Allowance.objects.update(full_at=0)  # for a long time: no more than a whole bucket
    assert [spend("somebody", TEN).refused for _ in range(11)] == [False] * 10 + [True]


@pytest.mark.django_db
def test_a_unit_can_be_given_back_and_full_buckets_are_forgotten():
    spend("somebody", TEN)
    assert forget_full() == 0
    give_back("somebody", TEN)
    assert look("somebody", TEN).units == 10
    assert forget_full() == 1
    assert look("somebody", TEN) is None


@pytest.mark.django_db(transaction=True)
def test_many_at_once_get_no_more_than_there_is():
    granted = []

    def take():
        granted.extend(not spend("somebody", TEN).refused for _ in range(5))
        connection.close()

    threads = [threading.Thread(target=take) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert (len(granted), sum(granted)) == (30, 10)


@pytest.mark.django_db
def test_a_token_is_told_what_it_has_left_and_then_to_wait(manager, settings):
    settings.API_RATE_LIMIT = 3
    api = Api(manager)
    replies = [api.get("projects/") for _ in range(4)]
    assert [reply.status_code for reply in replies] == [200, 200, 200, 429]
    assert [reply.headers["RateLimit"] for reply in replies[:3]] == [
        '"token";r=2;t=20',
        '"token";r=1;t=40',
        '"token";r=0;t=60',
    ]
    assert {reply.headers["RateLimit-Policy"] for reply in replies} == {'"token";q=3;w=60'}
    assert problem(replies[3], 429)["title"] == "Too many requests"
    assert replies[3].headers["Retry-After"] == "20"
    assert Api(manager).get("projects/").status_code == 200  # another token has its own


@pytest.mark.django_db
def test_a_request_that_is_refused_does_nothing(manager, settings):
    settings.API_RATE_LIMIT = 1
    api = Api(manager)
    api.get("projects/")
    problem(api.post("projects/", {"slug": "moon", "name": "Moon"}), 429)
    assert not manager.memberships.filter(project__slug="moon").exists()


@pytest.mark.django_db
def test_a_person_in_the_browser_and_an_address_have_limits_too(manager, settings):
    settings.API_RATE_LIMIT = settings.API_RATE_LIMIT_ANONYMOUS = 2
    browser = Client()
    browser.force_login(manager)
    assert [browser.get(LIST).status_code for _ in range(3)] == [200, 200, 429]
    assert [Client().get("/api/v1/nothing").status_code for _ in range(3)] == [404, 404, 429]
    assert Client().get("/api/v1/schema/", headers={}, REMOTE_ADDR="198.51.100.7").status_code == 200
    assert Client().get("/livez").status_code == 200


@pytest.mark.django_db
def test_without_a_limit_nothing_is_counted_and_nothing_said(manager, settings):
    settings.API_RATE_LIMIT = settings.API_RATE_LIMIT_ANONYMOUS = 0
    reply = Api(manager).get("projects/")
    assert (reply.status_code, "RateLimit" in reply.headers) == (200, False)
    assert Client().get(LIST).status_code == 401
    assert not Allowance.objects.exists()


@pytest.mark.django_db
def test_whoever_tries_tokens_is_stopped_and_their_neighbours_are_not(manager, settings):
    settings.FAILED_TOKENS = 2
    api = Api(manager)

    def guess(number):
        return Client(headers={"Authorization": f"Token tb_{number}"}).get(LIST).status_code

    assert [guess(number) for number in range(4)] == [401, 401, 429, 429]
    assert api.get("projects/").status_code == 200  # the same address, with a key that opens


@pytest.mark.django_db
def test_passwords_are_looked_at_so_many_times_for_an_address(manager, settings):
    settings.FAILED_SIGN_INS = 2

    def sign_in(password, address="192.0.2.1", path="/login/"):
        return Client().post(path, {"username": "mara", "password": password}, REMOTE_ADDR=address)

    assert sign_in(PASSWORD).status_code == 302  # right ones do not count
    assert [sign_in("wrong").status_code for _ in range(2)] == [200, 200]
    refused = sign_in(PASSWORD)
    assert refused.status_code == 429
    assert refused.headers["Retry-After"] == "300"
    assert "Wait 5 minutes" in refused.content.decode()
    again = Client().post("/login/again/", {"username": "mara", "password": PASSWORD}, REMOTE_ADDR="192.0.2.1")
    assert (again.status_code, "Wait 5 minutes" in again.content.decode()) == (429, True)
    admin = sign_in(PASSWORD, path="/admin/login/")
    assert "Wait 5 minutes" in admin.content.decode()
    assert sign_in(PASSWORD, address="192.0.2.2").status_code == 302


@pytest.mark.parametrize(
    ("proxies", "forwarded", "address"),
    [
        (0, "203.0.113.9", "127.0.0.1"),
        (1, "203.0.113.9", "203.0.113.9"),
        (1, "198.51.100.1, 203.0.113.9", "203.0.113.9"),
        (2, "198.51.100.1, 203.0.113.9", "198.51.100.1"),
        (2, "203.0.113.9", "127.0.0.1"),
        (1, "<script>", ""),
    ],
)
def test_an_address_is_believed_as_far_as_our_proxies_wrote_it(rf, settings, proxies, forwarded, address):
    settings.TRUSTED_PROXIES = proxies
    assert client_address(rf.get("/", headers={"X-Forwarded-For": forwarded})) == address


def test_an_ipv6_host_is_its_network():
    assert network_of("2001:db8:1:2:aaaa::1") == network_of("2001:db8:1:2::9") == "2001:0db8:0001:0002::/64"
    assert network_of("192.0.2.1") == "192.0.2.1"
