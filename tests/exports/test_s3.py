"""Snapshots on an S3 server: built into the bucket, downloaded by the address that the web signs, and by no other one.

The server is moto's. It checks no signature, so a gate before it does, by AWS Signature Version 4 as it is documented
(docs.aws.amazon.com/AmazonS3, "Authenticating Requests: Using Query Parameters").
"""

import hashlib
import hmac
import threading
from datetime import UTC, datetime, timedelta
from urllib.parse import parse_qsl, quote, urlsplit

import boto3
import httpx
import pytest
from django.core.files.storage import storages
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import make_server

from apps.core.artifacts import artifact_storage
from apps.core.file_replies import REDIRECT_SECONDS
from apps.exports.services import find_file
from config import settings as site
from tests.e2e.running import wait_until
from tests.exports.rows import ALL, labels, written
from tests.imports.test_imports import load, row

pytestmark = pytest.mark.django_db
SECRET = "a secret of the test"


def encoded(text):
    return quote(text, safe="-._~")


def signature(method, path, query, host):
    """Return what the signature of a presigned request has to be."""
    fields = dict(query)
    _key, day, region, service, _end = fields["X-Amz-Credential"].split("/")
    sent = sorted((encoded(name), encoded(value)) for name, value in query if name != "X-Amz-Signature")
    canonical = "\n".join(
        [
            method,
            path,
            "&".join(f"{name}={value}" for name, value in sent),
            f"host:{host}\n",
            "host",
            "UNSIGNED-PAYLOAD",
        ]
    )
    to_sign = "\n".join(
        [
            "AWS4-HMAC-SHA256",
            fields["X-Amz-Date"],
            f"{day}/{region}/{service}/aws4_request",
            hashlib.sha256(canonical.encode()).hexdigest(),
        ]
    )
    key = f"AWS4{SECRET}".encode()
    for part in (day, region, service, "aws4_request", to_sign):
        key = hmac.new(key, part.encode(), hashlib.sha256).digest()
    return key.hex()


def why_refused(environ):
    """Return why S3 would refuse a request, or None."""
    query = parse_qsl(environ["QUERY_STRING"], keep_blank_values=True)
    fields = dict(query)
    if "X-Amz-Signature" not in fields:
        return None if "HTTP_AUTHORIZATION" in environ else "Nobody signed it."
    signed_at = datetime.strptime(fields["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
    if signed_at + timedelta(seconds=int(fields["X-Amz-Expires"])) < datetime.now(UTC):
        return "It has expired."
    path = environ["REQUEST_URI"].partition("?")[0]
    expected = signature(environ["REQUEST_METHOD"], path, query, environ["HTTP_HOST"])
    return None if hmac.compare_digest(expected, fields["X-Amz-Signature"]) else "The signature is another one."


@pytest.fixture(scope="module")
def server():
    behind = DomainDispatcherApplication(create_backend_app)

    def gate(environ, start_response):
        if (reason := why_refused(environ)) is not None:
            start_response("403 Forbidden", [("Content-Type", "text/plain")])
            return [reason.encode()]
        return behind(environ, start_response)

    made = make_server("127.0.0.1", 0, gate, threaded=True)
    thread = threading.Thread(target=made.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{made.port}"
    made.shutdown()
    thread.join()
    made.server_close()


@pytest.fixture
def bucket(server, monkeypatch, settings):
    """Artifacts on `s3://labels/team` at that server, set up as an operator does it."""
    given = {"AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": SECRET, "AWS_ENDPOINT_URL_S3": server}
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_SESSION_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    client = boto3.client("s3")
    client.create_bucket(Bucket="labels")
    kept = storages._storages.pop("artifacts", None)
    settings.STORAGES = {**settings.STORAGES, "artifacts": site._artifact_storage("s3://labels/team")}
    settings.FILES_REDIRECT = True
    yield client
    storages._storages.pop("artifacts", None)
    if kept is not None:
        storages._storages["artifacts"] = kept
    for each in client.list_objects_v2(Bucket="labels").get("Contents", []):
        client.delete_object(Bucket="labels", Key=each["Key"])
    client.delete_bucket(Bucket="labels")


@pytest.fixture
def made(bucket, project):
    load(
        project,
        *(row(external_id=f"q-{n}", responses=[f"{n} ä", f"{n} b"], annotations=labels(1, 2, 2)) for n in range(9)),
    )
    return written(project, {**ALL, "formats": ["trl-preference"], "encodings": ["jsonl", "csv"]})


def address_of(client, project, snapshot, file):
    reply = client.get(f"/projects/{project.slug}/snapshots/{snapshot.pk}/trl-preference/{file}")
    assert reply.status_code == 302
    return reply.headers["Location"]


def test_a_snapshot_lies_in_the_bucket_and_comes_down_whole_in_parts_and_once(made, bucket, project, client, manager):
    client.force_login(manager)
    stored = {each["Key"]: each["Size"] for each in bucket.list_objects_v2(Bucket="labels")["Contents"]}
    for name, entry in made.manifest["files"].items():
        key = f"team/{made.folder}/{name}"
        assert stored[key] == entry["bytes"]
        address = address_of(client, project, made, name.partition("/")[2])
        whole = httpx.get(address)
        assert hashlib.sha256(whole.content).hexdigest() == entry["sha256"]
        assert f"-{made.pk}-trl-preference-" in whole.headers["Content-Disposition"]
        rest = httpx.get(address, headers={"Range": "bytes=100-"})
        assert (rest.status_code, rest.content) == (206, whole.content[100:])
        again = httpx.get(address, headers={"If-None-Match": whole.headers["ETag"]})
        assert (again.status_code, again.content) == (304, b"")
    assert len(stored) == len(made.manifest["files"]) + len(made.manifest["documents"])


def test_the_web_sends_a_part_itself_where_addresses_are_not_given_away(made, project, client, manager, settings):
    settings.FILES_REDIRECT = False
    client.force_login(manager)
    path = f"/projects/{project.slug}/snapshots/{made.pk}/trl-preference/train.jsonl"
    whole = b"".join(client.get(path).streaming_content)
    assert hashlib.sha256(whole).hexdigest() == made.manifest["files"]["trl-preference/train.jsonl"]["sha256"]
    assert b"".join(client.get(path, headers={"Range": "bytes=7-20"}).streaming_content) == whole[7:21]


def test_no_other_address_works(made, project, client, manager):
    client.force_login(manager)
    address = address_of(client, project, made, "train.jsonl")
    fields = dict(parse_qsl(urlsplit(address).query))
    assert int(fields["X-Amz-Expires"]) == REDIRECT_SECONDS
    for tampered in (
        address.replace("train.jsonl", "train.csv", 1),
        address.replace(f"X-Amz-Expires={REDIRECT_SECONDS}", "X-Amz-Expires=86400"),
        address.partition("?")[0],
    ):
        assert tampered != address
        assert httpx.get(tampered).status_code == 403
    name = find_file(snapshot=made, export_format="trl-preference", file="train.jsonl").name
    brief = artifact_storage().url(name, expire=1)
    wait_until(lambda: httpx.get(brief).text == "It has expired.", 10, "the address to expire")
