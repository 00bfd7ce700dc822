"""Files in both directions, each going on where it broke off: tus 1.0.0 (core and creation) and HTTP ranges."""

import base64
import hashlib
import os
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from tiebreak import results
from tiebreak.errors import ApiError, DownloadDamaged, NetworkError, NotFound, UnexpectedReply
from tiebreak.exchange import BUSY, Fetch, Operation, Pause, Reply, Request, Retries, Work, call, retry_after, segment
from tiebreak.operations import Report, get, start
from tiebreak.results import SnapshotFile, Started, decoded

SMALL = 8 << 20
"""Up to here a file goes in one request; a larger one in parts of this size."""
TUS = {"Tus-Resumable": "1.0.0"}
OFFSET = "application/offset+octet-stream"
DOCUMENTS = {"README.md": "card", "croissant.json": "croissant"}
"""Documents of a snapshot, and what their addresses end with."""
REDIRECTS = frozenset({302, 303, 307, 308})


# --- Up ---


def import_file(
    slug: str, path: Path, retries: Retries, *, server: str, options: Mapping[str, Any], report: Report | None
) -> Operation[Started]:
    """Bring a file in: small ones in one request, large ones in parts that go on after a break, even in a new process.

    A server that knows no resumable uploads gets a large file in one request, too.
    """
    imports, size = f"projects/{segment(slug)}/imports/", path.stat().st_size
    if size > SMALL or options:
        note = _note_of(server, slug, path)
        try:
            upload = yield from _upload(slug, path, size, note, retries, report)
        except NotFound:
            if options:
                raise
        else:
            started = yield from start(imports, {**options, "upload": upload}, retries)
            note.unlink(missing_ok=True)  # not before: an import that is refused needs no second upload
            return started
    reply = yield from call(Request("POST", imports, upload=path, keyed=size <= SMALL), retries)
    return decoded(results.started, reply.json)


def _upload(slug: str, path: Path, size: int, note: Path, retries: Retries, report: Report | None) -> Operation[str]:
    """Send a file in parts; return the upload's id."""
    address = yield from _begun(note, size, retries)
    if address is None:
        address = yield from _create(f"projects/{segment(slug)}/uploads/", path, size, retries)
        _remember(note, address)
    sent, failures = (yield from _offset(address, retries)), 0
    with path.open("rb") as stream:
        while sent < size:
            if report:
                report(sent, size, "")
            stream.seek(sent)
            chunk = stream.read(min(SMALL, size - sent))
            if not chunk:
                raise UnexpectedReply(f"{path} became shorter while it was sent.")
            headers = {**TUS, "Upload-Offset": str(sent), "Content-Type": OFFSET}
            pause, said = 0.0, None
            with suppress(NetworkError):
                reply: Reply = yield Request("PATCH", address, headers=headers, content=chunk)
                pause, said = _refused(reply, retries), reply.headers.get("upload-offset")
            # How much has arrived is the server's word; after a break (409: of an earlier part) it has to be asked.
            now = int(said) if said and said.isdecimal() and pause == 0 else (yield from _offset(address, retries))
            failures = 0 if now > sent else failures + 1
            if failures >= retries.attempts:
                raise NetworkError(f"The upload of {path.name} does not get on; it can be continued later.")
            if failures:
                yield Pause(max(pause, retries.pause(failures)))
            sent = now
    if report:
        report(size, size, "")
    return urlsplit(address).path.rstrip("/").rpartition("/")[2]


def _refused(reply: Reply, retries: Retries) -> float:
    """Return how long the server asks to wait; raise what it refuses for good."""
    if reply.status < 400 or reply.status in {409, 423}:
        return 0.0
    asked = retry_after(reply.headers.get("retry-after", "")) or 0.0
    if reply.status not in BUSY or asked > retries.longest_asked:
        raise reply.problem()
    return asked


def _create(path: str, file: Path, size: int, retries: Retries) -> Operation[str]:
    """Announce an upload; return its path on the server (of the address only that: the token goes nowhere else)."""
    name = base64.b64encode(file.name.encode("utf-8", "surrogateescape")).decode("ascii")
    headers = {**TUS, "Upload-Length": str(size), "Upload-Metadata": f"filename {name}"}
    reply = yield from call(Request("POST", path, headers=headers, content=b""), retries)
    location = urlsplit(reply.headers.get("location", "")).path
    if not location.startswith("/"):
        raise UnexpectedReply("The server did not say where to send the file.")
    return location


def _offset(address: str, retries: Retries) -> Operation[int]:
    """Ask how much of a file the server has."""
    reply = yield from call(Request("HEAD", address, headers=TUS), retries)
    return decoded(lambda headers: int(headers["upload-offset"]), reply.headers)


def _begun(note: Path, size: int, retries: Retries) -> Operation[str | None]:
    """Return the address of the upload that an earlier process began with this file, if the server still has it."""
    try:
        address = note.read_text().strip()
    except OSError:
        return None
    if not address.startswith("/"):
        return None
    try:
        reply = yield from call(Request("HEAD", address, headers=TUS), retries)
    except ApiError:
        return None
    return address if reply.headers.get("upload-length") == str(size) else None


def _note_of(server: str, slug: str, path: Path) -> Path:
    """Return where the address of this file's upload is kept: another file, or a changed one, has another place."""
    known = path.stat()
    key = "\n".join([server, slug, str(path.resolve()), str(known.st_size), str(known.st_mtime_ns)])
    folder = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tiebreak" / "uploads"
    return folder / hashlib.sha256(key.encode("utf-8", "surrogateescape")).hexdigest()[:32]


def _remember(note: Path, address: str) -> None:
    with suppress(OSError):  # then a new process begins again, that is all
        note.parent.mkdir(parents=True, exist_ok=True)
        note.write_text(address)


# --- Down ---


def download(
    snapshot_id: str,
    export_format: str,
    split: str,
    to: Path,
    retries: Retries,
    *,
    extension: str,
    report: Report | None,
) -> Operation[Path]:
    """Bring a file of a snapshot to `to`, which is complete and checked when it appears under that name.

    What has arrived lies in a file beside it whose name has the content's hash, and the next try goes on from there.
    """
    manifest = yield from get(f"snapshots/{segment(snapshot_id)}/", results.snapshot, retries)
    name = f"{export_format}/{split}.{extension}"
    entry = manifest.files.get(name)
    if entry is None:
        of_format = sorted(other for other in manifest.files if other.startswith(f"{export_format}/"))
        formats = sorted({other.split("/")[0] for other in manifest.files})
        known = ", ".join(of_format or formats) or "none yet: its files are still being written"
        raise NotFound(404, {"detail": f"Snapshot {snapshot_id} has no file {name}. It has {known}."})
    path = f"snapshots/{segment(snapshot_id)}/files/{segment(export_format)}/{segment(f'{split}.{extension}')}"
    return (yield from _bring(path, entry, to, retries, report))


def download_document(snapshot_id: str, name: str, to: Path, retries: Retries) -> Operation[Path]:
    """Bring the data card or the Croissant description of a snapshot to `to`, as `download` brings a file."""
    manifest = yield from get(f"snapshots/{segment(snapshot_id)}/", results.snapshot, retries)
    entry = (manifest.raw.get("documents") or {}).get(name)
    if entry is None or name not in DOCUMENTS:
        raise NotFound(404, {"detail": f"Snapshot {snapshot_id} has no document {name}."})
    file = decoded(lambda raw: SnapshotFile(name, raw["bytes"], raw["sha256"], None), entry)
    path = f"snapshots/{segment(snapshot_id)}/{DOCUMENTS[name]}/"
    return (yield from _bring(path, file, to, retries, None))


def _bring(path: str, entry: SnapshotFile, to: Path, retries: Retries, report: Report | None) -> Operation[Path]:
    to.parent.mkdir(parents=True, exist_ok=True)
    part = to.with_name(f".{to.name}.{entry.sha256[:16]}.part")
    for last in (False, True):
        yield from _fetch_rest(path, part, entry, retries, report)
        found: str = yield Work(partial(_sha256, part))
        if found == entry.sha256:
            os.replace(part, to)
            return to
        part.unlink()  # a part from elsewhere, or a disk that lies: once more from the beginning
        if last:
            break
    raise DownloadDamaged(f"{entry.name} arrived damaged, twice.")


def _fetch_rest(path: str, part: Path, entry: SnapshotFile, retries: Retries, report: Report | None) -> Operation[None]:
    """Append to a part until it is as long as the file."""
    failures = 0
    part.touch()
    if part.stat().st_size > entry.bytes:
        part.write_bytes(b"")
    while (have := part.stat().st_size) < entry.bytes:
        try:
            with part.open("ab") as stream:
                begin = _taker(stream, have, entry.bytes, report)
                reply: Reply = yield Fetch(Request("GET", path, headers=_rest(have, entry.sha256)), begin)
                if reply.status in REDIRECTS:  # to a store of files, whose tags are its own; the hash has the last word
                    reply = yield Fetch(Request("GET", _elsewhere(reply), headers=_rest(have)), begin)
            pause = _refused(reply, retries)
        except NetworkError:
            pause = 0.0
        failures = 0 if part.stat().st_size > have else failures + 1
        if failures >= retries.attempts:
            raise NetworkError(f"The download of {entry.name} does not get on; it can be continued later.")
        if part.stat().st_size < entry.bytes:
            yield Pause(max(pause, retries.pause(failures or 1)))
    if report:
        report(entry.bytes, entry.bytes, "")


def _elsewhere(reply: Reply) -> str:
    """Return the whole address that a redirect names."""
    address = reply.headers.get("location", "")
    if not address.startswith(("https://", "http://")):
        raise UnexpectedReply("The server sent us to no address.")
    return address


def _rest(have: int, sha256: str = "") -> dict[str, str]:
    """Return the headers that ask for what is missing of a file."""
    headers = {"Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if sha256:
            headers["If-Range"] = f'"{sha256}"'
    return headers


def _taker(
    stream: Any, have: int, total: int, report: Report | None
) -> Callable[[Reply], Callable[[bytes], object] | None]:
    """Return what writes the parts of a body to a file that has `have` bytes already."""

    def begin(head: Reply) -> Callable[[bytes], object] | None:
        if head.status not in {200, 206}:
            return None
        if head.status == 200 or not head.headers.get("content-range", "").startswith(f"bytes {have}-"):
            if head.status == 206:
                raise UnexpectedReply("The server sent another part of the file than was asked for.")
            stream.truncate(0)  # the whole file comes
            stream.seek(0)

        def take(chunk: bytes) -> None:
            if stream.tell() + len(chunk) > total:
                raise UnexpectedReply("The server sent more than the manifest says.")
            stream.write(chunk)
            if report:
                report(stream.tell(), total, "")

        return take

    return begin


def _sha256(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
