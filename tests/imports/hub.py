"""A Hugging Face hub with one dataset, faked at the socket."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

REVISION = "0123456789abcdef0123456789abcdef01234567"


@contextmanager
def hub(name: str, files: dict[str, bytes]) -> Iterator[str]:
    """Serve a dataset's files as the hub does, and yield the address for HF_ENDPOINT."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._answer()

        def do_GET(self) -> None:
            self._answer()

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            asked = json.loads(body)["paths"] if body.startswith("{") else []
            self._json([entry(path) for path in files if not asked or path in asked])

        def _answer(self) -> None:
            path = self.path.partition("?")[0]
            if path.startswith(f"/datasets/{name}/resolve/"):
                return self._file(path.removeprefix(f"/datasets/{name}/resolve/").partition("/")[2])
            if "/tree/" in path and path.startswith(f"/api/datasets/{name}"):
                found = listed(path.partition("/tree/")[2].partition("/")[2])
                return self._json(found) if found else self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            if path.startswith(f"/api/datasets/{name}"):
                siblings = [{"rfilename": file} for file in files]
                return self._json({"id": name, "sha": REVISION, "private": False, "tags": [], "siblings": siblings})
            return self._send(404, b'{"error": "Repository not found"}', {"X-Error-Code": "RepoNotFound"})

        def _file(self, path: str) -> None:
            if path not in files:
                return self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            content, headers = files[path], {"ETag": f'"{digest(files[path])}"', "X-Repo-Commit": REVISION}
            headers |= {"Accept-Ranges": "bytes"}
            if said := self.headers.get("Range"):
                first, _, last = said.removeprefix("bytes=").partition("-")
                end = min(int(last or len(content) - 1), len(content) - 1)
                headers["Content-Range"] = f"bytes {first}-{end}/{len(content)}"
                return self._send(206, content[int(first) : end + 1], headers)
            return self._send(200, content, headers)

        def _json(self, value: object) -> None:
            self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

        def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
            self.send_response(status)
            for header, value in headers.items():
                self.send_header(header, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    def listed(folder: str) -> list[dict[str, object]]:
        inside = [path.removeprefix(f"{folder}/") for path in files if path.startswith(f"{folder}/" if folder else "")]
        start = f"{folder}/" if folder else ""
        folders = sorted({path.partition("/")[0] for path in inside if "/" in path})
        return [{"type": "directory", "path": start + path, "size": 0, "oid": REVISION} for path in folders] + [
            entry(start + path) for path in inside if "/" not in path
        ]

    def entry(path: str) -> dict[str, object]:
        return {"type": "file", "path": path, "size": len(files[path]), "oid": digest(files[path])}

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


def digest(content: bytes) -> str:
    """Return what stands for git's hash of a file."""
    return hashlib.sha1(content).hexdigest()
