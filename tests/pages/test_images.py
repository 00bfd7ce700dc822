"""Images that a text names are fetched by the server, once, and served as images and nothing else."""

import re
import threading
import time
from html import unescape

import pytest
from django.core.cache.backends.filebased import FileBasedCache
from django.test import Client

from apps.core import images
from apps.core.images import content_type_of, image_address
from apps.core.markdown import render_markdown
from apps.core.outgoing import Limits
from tests.core.test_outgoing_requests import send, serving
from tests.e2e.running import wait_until

PNG = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010804000000b51c0c02")
PNG += bytes.fromhex("0000000b4944415478da6364f80f00010501012718e3660000000049454e44ae426082")


@pytest.fixture(autouse=True)
def own_cache(settings, tmp_path):
    settings.CACHE_DIR = tmp_path
    settings.OUTGOING_ALLOW = ["127.0.0.0/8"]


@pytest.fixture
def client(annotator):
    signed_in = Client()
    signed_in.force_login(annotator)
    return signed_in


def picture(handler):
    send(handler, PNG, **{"Content-Type": "text/html", "Set-Cookie": "a=b"})


def test_a_text_points_to_our_own_address_and_to_no_other(settings):
    html = render_markdown("![a **cat**](https://tracker.example/p.png?u=1&v=2)")
    [tag] = re.findall("<img[^>]*>", html)
    assert re.search(
        r'src="/images/\?address=https%3A%2F%2Ftracker\.example%2Fp\.png%3Fu%3D1%26v%3D2%3A[\w-]{43}"', tag
    )
    assert 'alt="a cat"' in tag
    assert 'title="https://tracker.example/p.png?u=1&amp;v=2"' in tag
    assert 'loading="lazy"' in tag
    assert 'alt="https://tracker.example/p.png"' in render_markdown("![](https://tracker.example/p.png)")


@pytest.mark.parametrize(
    "address",
    ["data:image/png;base64,AAAA", "x.png", "/logout/", "//evil.example/x", "ftp://a/b", "https://a/" + "x" * 2000],
)
def test_what_cannot_be_fetched_is_shown_as_words_and_address(address):
    html = render_markdown(f"![a cat]({address})")
    assert "<img" not in html
    assert f'<span class="image">[image: a cat] {address}</span>' in html


def test_images_can_be_switched_off(settings, client):
    address = image_address("https://tracker.example/p.png")
    settings.LOAD_IMAGES = False
    assert "[image: a cat] https://tracker.example/p.png" in render_markdown("![a cat](https://tracker.example/p.png)")
    assert client.get(address).status_code == 404


def test_the_image_is_served_and_can_be_nothing_else(client):
    with serving(picture) as (url, seen):
        html = render_markdown(f"![a cat]({url}/cat.png)")
        reply = client.get(unescape(re.search('src="([^"]*)"', html)[1]))
        assert (reply.status_code, reply.content, reply["Content-Type"]) == (200, PNG, "image/png")
        assert reply["X-Content-Type-Options"] == "nosniff"
        assert reply["Content-Security-Policy"] == "default-src 'none'; sandbox"
        assert reply["Cache-Control"] == "private, max-age=86400, immutable"
        assert "a" not in reply.cookies
        assert seen[0].headers["Cookie"] is None
        assert seen[0].headers["Referer"] is None


def test_many_people_cause_one_request(client):
    with serving(picture) as (url, seen):
        address = image_address(f"{url}/cat.png")
        assert [client.get(address).status_code for _ in range(5)] == [200] * 5
        assert len(seen) == 1


def test_a_failure_is_remembered_for_a_moment(client):
    with serving(lambda handler: send(handler, b"gone", 404)) as (url, seen):
        address = image_address(f"{url}/cat.png")
        assert [client.get(address).status_code for _ in range(5)] == [404] * 5
        assert len(seen) == 1


@pytest.mark.parametrize(
    "body",
    [b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", b"<html><script>alert(1)</script>", b"", b"BM"],
)
def test_what_is_no_image_is_not_passed_on(client, body):
    with serving(lambda handler: send(handler, body, **{"Content-Type": "image/png"})) as (url, _seen):
        reply = client.get(image_address(f"{url}/cat.png"))
        assert reply.status_code == 404
        assert reply["Content-Type"] == "text/plain; charset=utf-8"
        assert body not in reply.content or body == b""


def test_an_address_of_our_network_is_not_asked(client, settings):
    settings.OUTGOING_ALLOW = []
    with serving(picture) as (url, seen):
        reply = client.get(image_address(f"{url}/cat.png"))
        assert (reply.status_code, seen) == (404, [])
        assert "not a public address" in reply.content.decode()


@pytest.mark.parametrize(
    "query", ["", "?address=", "?address=https://a.example/x.png", "?address=https://a.example/x.png:AAAA"]
)
def test_an_address_that_no_text_named_is_not_found(client, query):
    assert client.get(f"/images/{query}").status_code == 404


def test_a_signature_of_something_else_is_none_here(client, settings):
    signed = images.signing.Signer().sign("https://a.example/x.png")
    assert client.get("/images/", {"address": signed}).status_code == 404


@pytest.mark.django_db
def test_only_people_who_are_signed_in_see_images():
    with serving(picture) as (url, seen):
        reply = Client().get(image_address(f"{url}/cat.png"))
        assert reply.status_code == 302
        assert reply["Location"].startswith("/login/")
        assert seen == []


def test_nothing_can_be_posted(client):
    assert client.post("/images/").status_code == 405


@pytest.mark.django_db(transaction=True)
def test_slow_servers_keep_no_more_threads_than_they_may(client, settings, monkeypatch):
    monkeypatch.setattr(images, "LIMITS", Limits(seconds=3))
    let_go = threading.Event()

    def slow(handler):
        let_go.wait(5)
        picture(handler)

    with serving(slow) as (url, seen):
        replies = []
        threads = [
            threading.Thread(target=lambda n=n: replies.append(images.load_image(signed(f"{url}/{n}.png"))))
            for n in range(settings.IMAGE_FETCHES)
        ]
        for thread in threads:
            thread.start()
        wait_until(lambda: len(seen) >= settings.IMAGE_FETCHES, 10, "all images are being fetched", pause=0.01)
        started = time.monotonic()
        reply = client.get(image_address(f"{url}/one-more.png"))
        assert (reply.status_code, reply["Retry-After"]) == (503, "1")
        assert time.monotonic() - started < 2.5  # the others keep theirs for three seconds
        let_go.set()
        for thread in threads:
            thread.join()
        assert [image.content_type for image in replies] == ["image/png"] * settings.IMAGE_FETCHES
        assert client.get(image_address(f"{url}/one-more.png")).status_code == 200  # being busy is not remembered


def signed(address: str) -> str:
    return images._SIGNER.sign(address)


def test_the_cache_has_a_bound(client, settings, monkeypatch):
    monkeypatch.setattr(images, "MAX_KEPT", 6)
    with serving(picture) as (url, _seen):
        for number in range(15):
            assert client.get(image_address(f"{url}/{number}.png")).status_code == 200
    kept = FileBasedCache(str(settings.CACHE_DIR / "images"), {})._list_cache_files()
    assert 0 < len(kept) <= 6


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (PNG, "image/png"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "image/jpeg"),
        (b"GIF89a\x01\x00", "image/gif"),
        (b"GIF87a\x01\x00", "image/gif"),
        (b"RIFF\x00\x00\x00\x00WEBPVP8 ", "image/webp"),
        (b"\x00\x00\x00\x20ftypavif\x00\x00\x00\x00", "image/avif"),
        (b"\x00\x00\x00\x20ftypmif1\x00\x00\x00\x00mif1avif", "image/avif"),
        (b"RIFF\x00\x00\x00\x00WAVEfmt ", None),
        (b"\x00\x00\x00\x20ftypisom\x00\x00\x02\x00", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"%PDF-1.7", None),
    ],
)
def test_the_first_bytes_say_what_an_image_is(body, expected):
    assert content_type_of(body) == expected
