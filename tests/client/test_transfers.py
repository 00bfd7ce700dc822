"""Files arrive whole through a network that breaks: downloads from the product, uploads to a server that speaks tus."""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field

import pytest

import tiebreak
from tests.client.conftest import QUICK, answering, row
from tiebreak import Tiebreak, transfers

# --- Down ---


def parts(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".part"))


@pytest.fixture
def shaky(proxy, token):
    with Tiebreak(proxy.url, token, retries=QUICK) as connected:
        yield connected


def test_a_download_that_breaks_goes_on_where_it_was(proxy, shaky, snapshot, tmp_path):
    entry = snapshot.files["annotations/train.jsonl"]
    assert entry.bytes > 60_000
    proxy.down = lambda number: 20_000
    said = []
    path = shaky.download(snapshot, "annotations", "train", tmp_path / "a.jsonl", progress=lambda *x: said.append(x))
    content = path.read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (entry.bytes, entry.sha256)
    assert proxy.connections <= entry.bytes / 20_000 + 3  # nothing was fetched twice
    assert parts(tmp_path) == []
    assert said[-1][:2] == (entry.bytes, entry.bytes)


def test_an_interrupted_download_is_continued_by_the_next_process(proxy, shaky, client, snapshot, tmp_path):
    entry = snapshot.files["annotations/train.jsonl"]
    proxy.down = lambda number: 35_000 if number == 0 else 1
    to = tmp_path / "a.jsonl"
    with pytest.raises(tiebreak.NetworkError, match="can be continued later"):
        Tiebreak(proxy.url, _token(shaky), retries=QUICK).download(snapshot, "annotations", "train", to)
    assert not to.exists()
    (part,) = parts(tmp_path)
    have = (tmp_path / part).stat().st_size
    assert 0 < have < entry.bytes
    seen = []
    client.download(snapshot, "annotations", "train", to, progress=lambda done, total, message: seen.append(done))
    assert seen[0] > have
    assert hashlib.sha256(to.read_bytes()).hexdigest() == entry.sha256


def _token(client):
    return client._target.token


def test_a_part_that_is_damaged_is_thrown_away_and_fetched_again(client, snapshot, tmp_path):
    entry = snapshot.files["annotations/train.jsonl"]
    part = tmp_path / f".a.jsonl.{entry.sha256[:16]}.part"
    for rubbish in (b"x" * 500, b"x" * entry.bytes, b"x" * (entry.bytes + 5)):
        part.write_bytes(rubbish)
        path = client.download(snapshot, "annotations", "train", tmp_path / "a.jsonl")
        assert hashlib.sha256(path.read_bytes()).hexdigest() == entry.sha256
        assert parts(tmp_path) == []


def test_a_file_that_does_not_match_its_manifest_never_appears(token, tmp_path):
    content = b"not what was promised"
    manifest = {"id": "1", "name": "x", "ready": True, "content_hash": "x"}
    manifest["files"] = {"annotations/train.jsonl": {"bytes": len(content), "sha256": "0" * 64, "rows": 1}}

    def damaged(request):
        return (200, {}, content) if "/files/" in request.path else (200, {}, json.dumps(manifest).encode())

    with answering(damaged) as url:
        client = Tiebreak(url, token, retries=QUICK)
        with pytest.raises(tiebreak.DownloadDamaged):
            client.download("1", "annotations", "train", tmp_path / "a.jsonl")
    assert list(tmp_path.iterdir()) == []


def test_a_server_that_sends_too_much_is_stopped(token, tmp_path):
    manifest = {"id": "1", "name": "x", "ready": True, "content_hash": "x"}
    manifest["files"] = {"annotations/train.jsonl": {"bytes": 10, "sha256": "0" * 64, "rows": 1}}

    def endless(request):
        return (200, {}, b"x" * 5000) if "/files/" in request.path else (200, {}, json.dumps(manifest).encode())

    with answering(endless) as url:
        client = Tiebreak(url, token, retries=QUICK)
        with pytest.raises(tiebreak.UnexpectedReply, match="more than the manifest"):
            client.download("1", "annotations", "train", tmp_path / "a.jsonl")
    assert not (tmp_path / "a.jsonl").exists()


def test_a_download_is_followed_to_a_store_of_files_without_the_token(token, tmp_path):
    content, asked, kept = bytes(range(256)) * 40, [], 4000
    sha256 = hashlib.sha256(content).hexdigest()
    manifest = {"id": "1", "name": "x", "ready": True, "content_hash": "x"}
    manifest["files"] = {"annotations/train.jsonl": {"bytes": len(content), "sha256": sha256, "rows": 1}}
    (tmp_path / f".a.jsonl.{sha256[:16]}.part").write_bytes(content[:kept])

    def store(request):
        asked.append((request.path, request.headers["Authorization"], request.headers["Range"]))
        return 206, {"Content-Range": f"bytes {kept}-{len(content) - 1}/{len(content)}"}, content[kept:]

    with answering(store) as elsewhere:

        def server(request):
            assert request.headers["Authorization"] == f"Token {token}"
            signed = {"Location": f"{elsewhere}/bucket/train?signature=s"}
            return (302, signed) if "/files/" in request.path else (200, {}, json.dumps(manifest).encode())

        with answering(server) as url, Tiebreak(url, token, retries=QUICK) as client:
            path = client.download("1", "annotations", "train", tmp_path / "a.jsonl")
    assert path.read_bytes() == content
    assert asked == [("/bucket/train?signature=s", None, "bytes=4000-")]


def test_a_file_that_a_snapshot_has_not_is_named_with_those_it_has(client, snapshot, tmp_path):
    with pytest.raises(tiebreak.NotFound, match=r"no file annotations/test.jsonl. It has .*annotations/train.jsonl"):
        client.download(snapshot, "annotations", "test", tmp_path / "a.jsonl")
    with pytest.raises(tiebreak.NotFound, match=r"no file nonsense/train.jsonl. It has annotations, helpsteer2-"):
        client.download(snapshot, "nonsense", "train", tmp_path / "a.jsonl")


# --- Up: a server that speaks tus 1.0.0, core and creation ---


@dataclass
class Tus:
    """What a server of resumable uploads has."""

    length: int = 0
    name: str = ""
    content: bytearray = field(default_factory=bytearray)
    created: int = 0
    started: list = field(default_factory=list)
    patches: list = field(default_factory=list)
    lost: bool = False

    def __call__(self, request):
        versions = {"Tus-Resumable": "1.0.0"}
        known = re.fullmatch(r"/api/v1/projects/tides/uploads/u-\d+/", request.path)
        if request.command == "POST" and request.path.endswith("/imports/"):
            self.started.append(json.loads(request.sent))
            progress = {"done": 0, "total": 0, "message": ""}
            job = {"id": "5", "kind": "import", "state": "queued", "progress": progress, "result": None, "error": None}
            return 202, {}, json.dumps({"id": "9", "job": job}).encode()
        assert request.headers["Tus-Resumable"] == "1.0.0"
        if request.command == "POST":
            self.created += 1
            self.content.clear()
            self.length = int(request.headers["Upload-Length"])
            self.name = base64.b64decode(request.headers["Upload-Metadata"].split(" ")[1]).decode()
            return 201, {
                **versions,
                "Location": f"http://elsewhere.invalid/api/v1/projects/tides/uploads/u-{self.created}/",
            }
        if not known or self.lost:
            return 404
        if request.command == "HEAD":
            return 200, {**versions, "Upload-Offset": str(len(self.content)), "Upload-Length": str(self.length)}
        assert request.headers["Content-Type"] == "application/offset+octet-stream"
        offset = int(request.headers["Upload-Offset"])
        self.patches.append((offset, len(request.sent)))
        if offset != len(self.content):
            return 409
        self.content += request.sent
        return 204, {**versions, "Upload-Offset": str(len(self.content))}


@pytest.fixture
def small_parts(monkeypatch, tmp_path):
    monkeypatch.setattr(transfers, "SMALL", 10_000)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture
def big(tmp_path):
    path = tmp_path / "größe.jsonl"
    path.write_text("".join(json.dumps(row(number)) + "\n" for number in range(100)))
    return path


def test_a_large_file_goes_in_parts_and_becomes_an_import(small_parts, big, token):
    tus, said = Tus(), []
    with answering(tus) as url, Tiebreak(url, token, retries=QUICK) as client:
        started = client.import_file("tides", big, progress=lambda *each: said.append(each))
    assert (bytes(tus.content), tus.name) == (big.read_bytes(), "größe.jsonl")
    assert tus.started == [{"upload": "u-1"}]
    assert (started.id, started.job.id) == ("9", "5")
    size = big.stat().st_size
    assert tus.patches == [(start, min(10_000, size - start)) for start in range(0, size, 10_000)]
    assert said[0][:2] == (0, size)
    assert said[-1][:2] == (size, size)


def test_options_go_with_an_upload_however_small(small_parts, pairs_file, token, monkeypatch):
    monkeypatch.setattr(transfers, "SMALL", 1 << 20)
    tus = Tus()
    with answering(tus) as url, Tiebreak(url, token, retries=QUICK) as client:
        client.import_file("tides", pairs_file, options={"mapping": {"prompt": "question"}})
    assert tus.started == [{"mapping": {"prompt": "question"}, "upload": "u-1"}]


def test_an_import_that_is_refused_needs_no_second_upload(small_parts, big, token):
    tus, wrong = Tus(), [422]
    with answering(lambda request: wrong.pop() if wrong and "imports" in request.path else tus(request)) as url:
        client = Tiebreak(url, token, retries=QUICK)
        with pytest.raises(tiebreak.InvalidInput):
            client.import_file("tides", big, options={"mapping": {"prompt": "?"}})
        client.import_file("tides", big, options={"mapping": {"prompt": "question"}})
    assert (tus.created, len(tus.patches)) == (1, -(-big.stat().st_size // 10_000))
    assert [each["mapping"] for each in tus.started] == [{"prompt": "question"}]


def test_a_part_whose_answer_was_lost_is_not_sent_again(small_parts, big, token):
    tus, hung_up = Tus(), []

    def deaf(request):
        said = tus(request)
        if request.command == "PATCH" and len(tus.patches) in {2, 5} and len(tus.patches) not in hung_up:
            hung_up.append(len(tus.patches))
            return None
        return said

    with answering(deaf) as url, Tiebreak(url, token, retries=QUICK) as client:
        client.import_file("tides", big)
    assert hung_up == [2, 5]
    assert bytes(tus.content) == big.read_bytes()
    assert len(tus.patches) == -(-big.stat().st_size // 10_000)


def test_an_upload_goes_on_in_a_new_process_and_not_with_another_file(small_parts, big, token):
    tus = Tus()

    def failing(request):
        return 500 if request.command == "PATCH" and len(tus.patches) == 3 else tus(request)

    with answering(lambda request: answer[0](request)) as url:
        answer = [failing]
        with pytest.raises(tiebreak.ServerError):
            Tiebreak(url, token, retries=QUICK).import_file("tides", big)
        assert len(tus.content) == 30_000
        answer[0] = tus
        Tiebreak(url, token, retries=QUICK).import_file("tides", big)
        assert tus.created == 1
        assert bytes(tus.content) == big.read_bytes()
        # Finished: the same file again is a new upload, and so is what an earlier server has forgotten.
        Tiebreak(url, token, retries=QUICK).import_file("tides", big)
        assert tus.created == 2


def test_what_the_server_has_forgotten_begins_again(small_parts, big, token):
    tus = Tus()
    with answering(lambda request: answer[0](request)) as url:
        answer = [lambda request: 500 if request.command == "PATCH" and tus.patches else tus(request)]
        with pytest.raises(tiebreak.ServerError):
            Tiebreak(url, token, retries=QUICK).import_file("tides", big)
        tus.lost = True
        answer[0] = lambda request: setattr(tus, "lost", tus.lost and request.command == "HEAD") or tus(request)
        Tiebreak(url, token, retries=QUICK).import_file("tides", big)
    assert tus.created == 2
    assert bytes(tus.content) == big.read_bytes()


def test_an_upload_that_does_not_get_on_stops(small_parts, big, token):
    tus = Tus()

    def stuck(request):
        return None if request.command == "PATCH" else tus(request)

    with answering(stuck) as url:
        client = Tiebreak(url, token, retries=QUICK)
        with pytest.raises(tiebreak.NetworkError, match="can be continued later"):
            client.import_file("tides", big)
    assert tus.started == []


def test_the_address_of_an_upload_is_only_a_path(small_parts, big, token):
    """Tus here names a server elsewhere in Location; the parts go to the server that was asked, with the token."""
    tus = Tus()
    with answering(tus) as url, Tiebreak(url, token, retries=QUICK) as client:
        client.import_file("tides", big)
    assert len(tus.content) == big.stat().st_size


def test_a_large_file_is_uploaded_to_the_product_through_a_network_that_breaks(
    small_parts, big, proxy, shaky, client, worker
):
    proxy.up = lambda number: 7_000 if number in {2, 4} else None
    said = []
    job = client.wait(shaky.import_file("tides", big, progress=lambda *each: said.append(each)), timeout=30)
    assert said[-1][:2] == (big.stat().st_size, big.stat().st_size)  # in parts, not in one request
    assert (job.result["created"], job.result["rejected"]) == (100, 0)
