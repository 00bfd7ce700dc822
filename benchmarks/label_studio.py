"""A peer beside ours: Label Studio, the same pairs, the same clients, the same PostgreSQL, one after the other.

Run with `make bench-peer`, or `python -m benchmarks.label_studio`. The first run installs Label Studio (1 GB) into
`var/peers/label-studio`. It runs as its quick start runs it, with Django's development server, and under gunicorn with
as many processes and threads as our web server (its image runs uWSGI, which its wheel does not bring). It is told not
to call home, and works without the trigram indexes of its annotations (`SKIP_TRIGRAM_EXTENSION`), which the embedded
PostgreSQL cannot make; that spares it work. Its figures stay in `var/peers/label-studio.json` for other benchmarks.
"""

import argparse
import csv
import http.client
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.clients import Call, measure_rounds, middle_round, work
from benchmarks.database import _LIST, _PROSE, _TABLE, machine, own_database
from benchmarks.rest import CLIENTS, PAIRS, REPEATS, SECONDS, measure

VERSION = "1.23.2"
PEERS = Path(__file__).resolve().parent.parent / "var" / "peers"
HOME = PEERS / "label-studio"
PYTHON = HOME / "bin" / "python"
FIGURES = PEERS / "label-studio.json"
EXPORTED, BATCH, WANTED = 20_000, 1_000, 3
INSTALL_SECONDS, MIGRATE_SECONDS, START_SECONDS, REQUEST_SECONDS = 1800, 900, 300, 300
ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
CHOICES = ("much better 1", "better 1", "slightly better 1", "slightly better 2", "better 2", "much better 2")
JUSTIFICATION = "@Response 1 answers the question in full while @Response 2 leaves the second half out."
SERVERS = {"gunicorn": "gunicorn, 2 × 4", "development": "development server"}

# Runs in Label Studio's own environment: it migrates, and prints one legacy token for each person.
_SET_UP = """
import json, sys
from label_studio import server
server._setup_env()
server._apply_database_migrations()
from organizations.models import Organization
from users.models import User
people = [User.objects.create_user(email=f"person{n}@example.org", password=None) for n in range(int(sys.argv[1]))]
organization = Organization.create_organization(
    created_by=people[0], title="Bench", legacy_api_tokens_enabled=True)
for person in people:
    organization.add_user(person)
    person.active_organization = organization
    person.save()
print(json.dumps([person.auth_token.key for person in people]))
"""


@dataclass(frozen=True)
class Peer:
    """A Label Studio with a migrated database and people in it."""

    folder: Path
    environment: dict[str, str]
    keys: list[str]

    def ask(self, port: int, method: str, path: str, body: Any = None) -> bytes:
        """Send one request as the first person and return the reply's body."""
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=REQUEST_SECONDS)
        try:
            headers = {"Authorization": f"Token {self.keys[0]}", "Content-Type": "application/json"}
            connection.request(method, path, None if body is None else json.dumps(body), headers)
            reply = connection.getresponse()
            text = reply.read()
        finally:
            connection.close()
        if not 200 <= reply.status < 300:
            raise RuntimeError(f"{path}: {reply.status} {text[:500]!r}")
        return text


def last_measured(figure: str) -> str:
    """Return a figure of the last `make bench-peer` on this machine in one line: `cycles`, `import` or `export`."""
    if not FIGURES.exists():
        return "not measured on this machine: `make bench-peer`"
    figures = json.loads(FIGURES.read_text())
    if figure == "export":
        shown = [
            f"{kind}: {each['rows_per_second']:.0f} rows/s, peak memory {each['peak_mb']:.0f} MB"
            for kind, each in figures["exports"].items()
        ]
    else:
        line = _cycles if figure == "cycles" else _import_speed
        shown = [f"{name}: {line(figures['servers'][key])}" for key, name in SERVERS.items()]
    load = f"load average {figures['load_before']:.1f}"
    return f"{figures['peer']} on {figures['measured_at'][:10]} ({load}), {'; '.join(shown)}"


def install() -> None:
    """Install Label Studio into an environment of its own unless it is there."""
    probe = [str(PYTHON), "-c", "from importlib.metadata import version as v; print(v('label-studio'), v('gunicorn'))"]
    wanted = f"{VERSION} {version('gunicorn')}"
    if PYTHON.exists():
        found = subprocess.run(probe, capture_output=True, text=True, check=False).stdout.strip()
        if found == wanted:
            return
    print(f"Installing Label Studio {VERSION} into {HOME}; this takes minutes.", file=sys.stderr)
    subprocess.run([sys.executable, "-m", "venv", "--clear", str(HOME)], check=True)
    packages = [f"label-studio=={VERSION}", f"gunicorn=={version('gunicorn')}"]
    subprocess.run([str(PYTHON), "-m", "pip", "install", "-q", *packages], check=True, timeout=INSTALL_SECONDS)


@contextmanager
def own_peer() -> Iterator[Peer]:
    """Set Label Studio up on an embedded PostgreSQL in a folder of its own, which is removed afterwards."""
    from config import embedded_postgres

    folder = Path(tempfile.mkdtemp(prefix="label-studio-bench-"))
    folder.chmod(0o755)  # the embedded PostgreSQL may run as a user of its own
    try:
        environment = _environment(folder, embedded_postgres.start(folder / "postgres"))
        done = subprocess.run(
            [str(PYTHON), "-c", _SET_UP, str(CLIENTS)],
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=MIGRATE_SECONDS,
        )
        if done.returncode:
            raise RuntimeError(done.stderr[-2000:])
        yield Peer(folder, environment, json.loads(done.stdout.splitlines()[-1]))
    finally:
        embedded_postgres.stop(folder / "postgres")
        shutil.rmtree(folder, ignore_errors=True)


def measure_peer(*, pairs: int, exported: int, seconds: float, repeats: int) -> dict[str, Any]:
    """Return the figures of both servers, and of the exports through gunicorn."""
    figures: dict[str, Any] = {
        "peer": f"Label Studio {VERSION}",
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds"),
        "load_before": os.getloadavg()[0],
        "pairs": pairs,
        "servers": {},
    }
    with own_peer() as peer:
        for server in SERVERS:
            with _running(peer, server) as (port, _):
                project, took = _import(peer, port, pairs, labelled=False)
                order = {"port": port, "keys": peer.keys, "project": project, "answer": json.dumps(_annotation())}
                rounds = measure_rounds("benchmarks.label_studio", order, seconds=seconds, repeats=repeats)
                figures["servers"][server] = {"rounds": rounds, "import_per_second": pairs / took}
        figures["exports"] = _exports(peer, exported)
    return figures


def report(figures: dict[str, Any], ours: list[dict[str, Any]]) -> str:
    """Return ours and the peer side by side as Markdown: of each the round with the median throughput."""
    peers = {name: figures["servers"][key] for key, name in SERVERS.items()}
    all_rounds = [ours, *(each["rounds"] for each in peers.values())]
    middles = [middle_round(each) for each in all_rounds]
    heads = ["Tiebreak, gunicorn, 2 × 4", *(f"{figures['peer']}, {name}" for name in peers)]
    lines = [
        f"| {CLIENTS} clients, {figures['pairs']:,} pairs | {' | '.join(heads)} |",
        "|---|---:|---:|---:|",
        _row("cycles per second", [f"{each['cycles']:.1f}" for each in middles]),
        _row("the same in each round", [_rounds(each) for each in all_rounds]),
        _row("ours against it", ["", *(f"**{middles[0]['cycles'] / each['cycles']:.1f} ×**" for each in middles[1:])]),
    ]
    for step, name in (("lease", "lease or next"), ("submit", "submit")):
        took = [f"{each[step][0]:.0f} ms, {each[step][1]:.0f} ms" for each in middles]
        lines.append(_row(f"{name}, median and 95th percentile", took))
    lines += ["", f"| {figures['peer']} | speed | peak memory of the web process |", "|---|---:|---:|"]
    for name, peer in peers.items():
        name = f"import, {BATCH:,} tasks a request, {name}"
        lines.append(_row(name, [_import_speed(peer), ""]))
    for kind, each in figures["exports"].items():
        name = f"export, {kind}, {each['rows']:,} tasks with one annotation each ({each['megabytes']:.0f} MB)"
        memory = f"{each['peak_mb']:.0f} MB ({each['before_mb']:.0f} MB before)"
        lines.append(_row(name, [f"{each['rows_per_second']:.0f} rows/s", memory]))
    return "\n".join(lines)


def _row(name: str, values: list[str]) -> str:
    return f"| {name} | {' | '.join(values)} |"


def _rounds(rounds: list[dict[str, Any]]) -> str:
    return ", ".join(f"{each['cycles']:.1f}" for each in rounds)


def _cycles(server: dict[str, Any]) -> str:
    middle = middle_round(server["rounds"])
    return f"{middle['cycles']:.1f} cycles/s, next {middle['lease'][0]:.0f} ms, submit {middle['submit'][0]:.0f} ms"


def _import_speed(server: dict[str, Any]) -> str:
    return f"{server['import_per_second']:,.0f} tasks/s"


def _environment(folder: Path, socket: Path) -> dict[str, str]:
    """Return the variables of its processes: ours without what it might take for its own settings, and these."""
    from config import embedded_postgres

    kept = {name: os.environ[name] for name in ("PATH", "LANG", "LC_ALL", "TZ") if name in os.environ}
    return {
        **kept,
        "HOME": str(folder),
        "DJANGO_SETTINGS_MODULE": "label_studio.core.settings.label_studio",
        "LABEL_STUDIO_BASE_DATA_DIR": str(folder / "files"),
        "DJANGO_DB": "default",
        "POSTGRE_HOST": str(socket),
        "POSTGRE_PORT": "5432",
        "POSTGRE_USER": embedded_postgres.USER,
        "POSTGRE_NAME": embedded_postgres.DATABASE,
        "SKIP_TRIGRAM_EXTENSION": "full",
        "SKIP_BTREE_GIN_EXTENSION": "full",
        "LOG_LEVEL": "WARNING",
        # Nothing leaves this machine:
        "COLLECT_ANALYTICS": "False",
        "LATEST_VERSION_CHECK": "False",
        "SENTRY_DSN": "",
        "FRONTEND_SENTRY_DSN": "",
        "FEATURE_FLAGS_OFFLINE": "True",
        "DISABLE_SIGNUP_WITHOUT_LINK": "True",
    }


@contextmanager
def _running(peer: Peer, server: str) -> Iterator[tuple[int, Any]]:
    """Start the server, wait until it answers, yield its port and main process, and kill it with its children."""
    import psutil

    from config.processes import Service
    from tests.e2e.running import free_port, wait_until

    port = free_port()
    if server == "gunicorn":
        package = next(HOME.glob("lib/python*/site-packages/label_studio"))
        command = [str(PYTHON), "-m", "gunicorn", "label_studio.core.wsgi", "--chdir", str(package)]
        command += ["--bind", f"127.0.0.1:{port}", "--worker-class", "gthread", "--workers", "2", "--threads", "4"]
        command += ["--timeout", str(REQUEST_SECONDS), "--no-control-socket"]
    else:
        command = [str(HOME / "bin" / "label-studio"), "start", "--no-browser"]
        command += ["--internal-host", "127.0.0.1", "--port", str(port)]
    variables = [f"{name}={value}" for name, value in peer.environment.items()]
    service = Service(server, ["env", "-i", *variables, *command], peer.folder / f"{server}.log", 0)
    service.start()
    try:
        wait_until(lambda: not service.running or _is_up(port), START_SECONDS, f"{server} answers")
        if not service.running or service.process is None:
            raise RuntimeError(service.log.read_text()[-2000:])
        yield port, psutil.Process(service.process.pid)
    finally:
        service.kill_group()


def _is_up(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _import(peer: Peer, port: int, pairs: int, *, labelled: bool) -> tuple[int, float]:
    """Create a project of our form and import so many pairs into it; return its id and the seconds of the requests."""
    settings = {"title": "Pairs", "label_config": _form(), "maximum_annotations": WANTED}
    project = int(json.loads(peer.ask(port, "POST", "/api/projects", settings))["id"])
    took = 0.0
    for start in range(0, pairs, BATCH):
        tasks = [_task(number, labelled=labelled) for number in range(start, min(start + BATCH, pairs))]
        before = time.perf_counter()
        reply = json.loads(peer.ask(port, "POST", f"/api/projects/{project}/import", tasks))
        took += time.perf_counter() - before
        if reply["task_count"] != len(tasks):
            raise RuntimeError(f"{len(tasks)} tasks sent, {reply['task_count']} imported")
    return project, took


def _exports(peer: Peer, rows: int) -> dict[str, Any]:
    """Export a labelled project in both formats, each from a server just started; return its speed and memory."""
    with _running(peer, "gunicorn") as (port, _):
        project, _ = _import(peer, port, rows, labelled=True)
    figures = {}
    for kind in ("CSV", "JSON"):
        with _running(peer, "gunicorn") as (port, process):
            peer.ask(port, "GET", f"/api/projects/{project}")
            before_mb, before = _peak_mb(process), time.perf_counter()
            body = peer.ask(port, "GET", f"/api/projects/{project}/export?exportType={kind}&download_all_tasks=true")
            took = time.perf_counter() - before
            peak_mb = _peak_mb(process)
        text = body.decode()
        found = len(json.loads(text)) if kind == "JSON" else sum(1 for _ in csv.DictReader(io.StringIO(text)))
        if found != rows:
            raise RuntimeError(f"{kind}: {rows} rows wanted, {found} exported")
        figures[kind] = {
            "rows": rows,
            "rows_per_second": rows / took,
            "megabytes": len(body) / 1e6,
            "before_mb": before_mb,
            "peak_mb": peak_mb,
        }
    return figures


def _peak_mb(process: Any) -> float:
    """Return the highest resident size that any of the server's processes has had."""
    sizes = []
    for pid in (process.pid, *(child.pid for child in process.children(recursive=True))):
        line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("VmHWM"))
        sizes.append(int(line.split()[1]) * 1024 / 1e6)
    return max(sizes)


# --- Our form and our pairs in its words ---


def _form() -> str:
    """Return a label configuration that asks what ours asks: a preference, five ratings of each, a justification."""
    texts = "".join(f'<Text name="response_{side}" value="$response_{side}"/>' for side in (1, 2))
    choices = "".join(f'<Choice value="{choice}"/>' for choice in CHOICES)
    ratings = "".join(
        f'<Rating name="{attribute}_{side}" toName="response_{side}" maxRating="5"/>'
        for side in (1, 2)
        for attribute in ATTRIBUTES
    )
    preference = f'<Choices name="preference" toName="response_1" required="true">{choices}</Choices>'
    justification = '<TextArea name="justification" toName="response_1"/>'
    return f'<View><Text name="prompt" value="$prompt"/>{texts}{preference}{ratings}{justification}</View>'


def _task(number: int, *, labelled: bool) -> dict[str, Any]:
    """Return a pair as `benchmarks.database.seed_project` makes them."""
    texts = (_PROSE, _LIST, _TABLE)
    data = {
        "prompt": f"Question {number}: {'why does the sea rise and fall? ' * 6}",
        "response_1": f"Answer 1 to {number}.\n\n{texts[number % 3]}",
        "response_2": f"Answer 2 to {number}.\n\n{texts[(number + 1) % 3]}",
        "external_id": f"pair-{number}",
    }
    return {"data": data, "annotations": [_annotation()]} if labelled else {"data": data}


def _annotation() -> dict[str, Any]:
    def region(name: str, target: str, kind: str, value: dict[str, Any]) -> dict[str, Any]:
        return {"from_name": name, "to_name": target, "type": kind, "value": value}

    ratings = [
        region(f"{attribute}_{side}", f"response_{side}", "rating", {"rating": 3})
        for side in (1, 2)
        for attribute in ATTRIBUTES
    ]
    preference = region("preference", "response_1", "choices", {"choices": [CHOICES[1]]})
    justification = region("justification", "response_1", "textarea", {"text": [JUSTIFICATION]})
    return {"result": [preference, *ratings, justification], "lead_time": 60}


def _cycle(call: Call, order: dict[str, Any]) -> None:
    task = call("GET", f"/api/projects/{order['project']}/next", None, 200, "lease")
    call("POST", f"/api/tasks/{task['id']}/annotations/", order["answer"], 201, "submit")


def main() -> int:
    """Measure the peer, then ours, print both in a table and store the peer's figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--pairs", type=int, default=PAIRS)
    parser.add_argument("--exported", type=int, default=EXPORTED, help="so many labelled pairs are exported")
    parser.add_argument("--seconds", type=float, default=SECONDS)
    parser.add_argument("--json", type=Path, default=FIGURES, help="where the peer's figures are written")
    parser.add_argument("--client", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        work(_cycle, ("lease", "submit"))
        return 0
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that everything started is stopped
    install()
    sizes = {"pairs": options.pairs, "seconds": options.seconds, "repeats": REPEATS}
    with own_database() as folder:
        figures = measure_peer(exported=options.exported, **sizes)
        load_between = os.getloadavg()[0]
        ours = measure(folder, **sizes)
        where = machine()
    options.json.write_text(json.dumps({**figures, "machine": where}, indent=1))
    load = f"load average {figures['load_before']:.1f} before, {load_between:.1f} between the peer and ours"
    print(f"## Beside Label Studio\n\n{where}; {load}\n\n{report(figures, ours)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
