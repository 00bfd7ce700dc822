"""A researcher's shell and a pipeline's address against the running product: the command, beat, workers, signatures."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from standardwebhooks import Webhook

from tests.e2e.rest import Rest
from tests.e2e.running import ROOT, Runner, wait_until

SLUG = "pipeline"


@pytest.fixture
def receiver() -> Iterator[tuple[str, list[tuple[dict[str, str], bytes]]]]:
    """Run a server that refuses the first message and takes the rest; give its address and what came."""
    came: list[tuple[dict[str, str], bytes]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            came.append((dict(self.headers), body))
            self.send_response(503 if len(came) == 1 else 204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/", came
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_shell_script_and_a_pipeline(tiebreak: Runner, receiver, tmp_path: Path) -> None:
    address, came = receiver
    token = tiebreak.token("manager", "admin")
    rest = Rest(tiebreak.base_url, token)
    rest.post("projects/", {"name": "Pipeline", "slug": SLUG})
    events = ["import.finished", "snapshot.ready"]
    secret = rest.post(f"projects/{SLUG}/webhooks/", {"url": address, "events": events})["secret"]

    def command(*arguments: str) -> str:
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "client" / "src"),
            "TIEBREAK_URL": tiebreak.base_url,
            "TIEBREAK_TOKEN": token,
            "NO_PROXY": "127.0.0.1",
        }
        call = [sys.executable, "-m", "tiebreak", *arguments]
        done = subprocess.run(call, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return done.stdout

    row = {"prompt": "Why are there tides?", "responses": ["The moon pulls.", "Nobody knows."]}
    row["annotations"] = [{"annotator": f"a{number}", "preference": -2} for number in range(3)]
    (tmp_path / "pairs.jsonl").write_text(json.dumps(row) + "\n")
    assert "created 1" in command("import", "pairs.jsonl", "--project", SLUG)
    command("export", SLUG, "--format", "annotations", "--output", "out")
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["ready"]

    wait_until(lambda: len(came) >= 3, 60, "both messages have arrived, the refused one twice")
    told = [Webhook(secret).verify(body, headers) for headers, body in came]
    assert {message["type"] for message in told} == set(events)
    ids = {}
    for (headers, _body), message in zip(came, told, strict=True):
        ids.setdefault(message["type"], set()).add({k.lower(): v for k, v in headers.items()}["webhook-id"])
    assert [len(seen) for seen in ids.values()] == [1, 1]
    assert told[0]["data"]["project"] == SLUG
