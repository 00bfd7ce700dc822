"""Who sends a file: the web server, nginx, or the object storage; and that nothing stays open behind a reply."""

import hashlib
import os
import warnings
from urllib.parse import parse_qs, urlsplit

import pytest
from django.core.files.base import ContentFile
from django.core.files.storage import storages
from django.test import RequestFactory

from apps.core.artifacts import artifact_storage
from apps.core.file_replies import Part, StoredFile, file_reply

CONTENT = bytes(range(256)) * 40
S3 = {
    "BACKEND": "storages.backends.s3.S3Storage",
    "OPTIONS": {
        "bucket_name": "labels",
        "location": "team",
        "access_key": "key",
        "secret_key": "secret",
        "region_name": "eu-central-1",
        "endpoint_url": "https://storage.example.org",
    },
}


@pytest.fixture
def file():
    name = artifact_storage().save("downloads/train.jsonl", ContentFile(CONTENT))
    yield StoredFile(name, len(CONTENT), hashlib.sha256(CONTENT).hexdigest(), "application/x-ndjson")
    artifact_storage().delete(name)


def reply_to(file, method="get", **headers):
    return file_reply(getattr(RequestFactory(), method)("/", headers=headers), file)


def body(reply):
    return b"".join(reply.streaming_content)


def test_a_web_server_may_send_a_part_from_the_descriptor(file):
    reply = reply_to(file, Range="bytes=100-299")
    descriptor = reply.file_to_stream.fileno()
    assert os.lseek(descriptor, 0, os.SEEK_CUR) == 100
    assert reply.headers["Content-Length"] == "200"
    assert body(reply) == CONTENT[100:300]
    reply.file_to_stream.close()
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


def test_a_reply_that_nobody_reads_leaves_no_file_open(file):
    with warnings.catch_warnings():
        warnings.simplefilter("error", ResourceWarning)
        for method, headers in (
            ("get", {}),
            ("get", {"Range": "bytes=5-"}),
            ("head", {}),
            ("get", {"If-None-Match": "*"}),
        ):
            reply = reply_to(file, method, **headers)
            assert getattr(reply, "file_to_stream", None) is None or reply.file_to_stream._stream is None
            del reply
    part = Part(file.name, 0, 10)
    part.close()  # before anything was opened


def test_a_download_has_the_name_it_shall_be_saved_under(file):
    reply = reply_to(file.as_download("tides-7-train.jsonl"))
    assert reply.headers["Content-Disposition"] == 'attachment; filename="tides-7-train.jsonl"'
    assert body(reply) == CONTENT


def test_nginx_sends_the_file_where_it_serves_the_folder(file, settings):
    settings.FILES_ACCEL_PREFIX = "/artifacts-of-tiebreak/"
    reply = reply_to(file, Range="bytes=0-9")
    assert reply.headers["X-Accel-Redirect"] == f"/artifacts-of-tiebreak/{file.name}"
    assert (reply.status_code, reply.content) == (200, b"")  # nginx answers the Range
    assert reply.headers["ETag"] == file.etag
    assert "Content-Length" not in reply.headers
    assert reply_to(file, "head").headers["Content-Length"] == str(len(CONTENT))
    assert reply_to(file, **{"If-None-Match": file.etag}).status_code == 304


@pytest.fixture
def on_s3(settings):
    """Artifacts on S3; addresses are signed here, so no server is asked."""
    kept = storages._storages.pop("artifacts", None)
    settings.STORAGES = {**settings.STORAGES, "artifacts": S3}
    yield storages["artifacts"]
    storages._storages.pop("artifacts", None)
    if kept is not None:
        storages._storages["artifacts"] = kept


def test_the_storage_sends_the_file_by_a_signed_address(on_s3, settings):
    settings.FILES_REDIRECT = True
    file = StoredFile("snapshots/7/ab/train.csv", 10, "0" * 64, "text/csv; charset=utf-8", "tides-7.csv")
    reply = reply_to(file)
    address = urlsplit(reply.headers["Location"])
    asked = parse_qs(address.query)
    assert (reply.status_code, address.hostname) == (302, "storage.example.org")
    assert address.path == "/labels/team/snapshots/7/ab/train.csv"
    assert asked["response-content-type"] == ["text/csv; charset=utf-8"]
    assert asked["response-content-disposition"] == ['attachment; filename="tides-7.csv"']
    signature = asked.get("X-Amz-Signature") or asked.get("Signature")
    assert signature
    assert reply.headers["Cache-Control"] == "no-store"


def test_head_and_304_need_no_address(on_s3, settings):
    settings.FILES_REDIRECT = True
    file = StoredFile("snapshots/7/ab/train.csv", 10, "0" * 64, "text/csv")
    assert reply_to(file, "head").headers["Content-Length"] == "10"
    assert reply_to(file, **{"If-None-Match": file.etag}).status_code == 304
