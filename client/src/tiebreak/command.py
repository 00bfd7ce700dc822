"""The command `tiebreak`: log in, import, export, watch a job, score.

Exit codes: 0 done · 1 refused, failed or not found · 2 wrong arguments · 3 the server cannot be reached · 130 Ctrl-C.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime
from getpass import getpass
from itertools import islice
from pathlib import Path, PurePosixPath
from typing import IO, Any
from urllib.parse import urlsplit

from tiebreak import credentials
from tiebreak.client import Tiebreak
from tiebreak.errors import NetworkError, NotSignedIn, TiebreakError
from tiebreak.transport import Target

REFUSED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
LOCAL = {"localhost", "127.0.0.1", "::1"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code; an error is one sentence on standard error."""
    options = _parser().parse_args(arguments)
    try:
        options.run(options)
    except NetworkError as error:
        return _complain(error, UNREACHABLE)
    except TiebreakError as error:
        return _complain(error, REFUSED)
    except BrokenPipeError:
        sys.stderr.close()  # whoever read our output has enough of it
        return REFUSED
    except OSError as error:
        return _complain(f"{error.filename}: {error.strerror}." if error.filename else error, REFUSED)
    except KeyboardInterrupt:
        return _complain("Stopped. What was begun on the server goes on.", INTERRUPTED)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="tiebreak", description="Pairs into Tiebreak, datasets and rewards out of it."
    )
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")

    def command(name: str, run: Callable[[argparse.Namespace], None], words: str) -> argparse.ArgumentParser:
        made = commands.add_parser(name, help=words, description=words)
        made.set_defaults(run=run)
        return made

    login = command("login", _login, "Store the address of a Tiebreak and a key for it.")
    login.add_argument("--url", help="its address, such as https://tiebreak.example.org (asked for if left out)")
    projects = command("projects", _projects, "List the projects that you are a member of.")
    projects.add_argument("--json", action="store_true", help="one JSON object per line")
    bring = command("import", _import, "Send a file of pairs, wait for its import and print the report.")
    bring.add_argument("file", type=Path, metavar="FILE")
    bring.add_argument("--project", required=True, metavar="SLUG")
    bring.add_argument("--options", type=_object, metavar="JSON", help="what the import takes besides the file")
    bring.add_argument("--no-wait", action="store_true", help="print the job's id and leave")
    _common(bring)
    export = command("export", _export, "Make a snapshot, wait for it and download its files of one format.")
    export.add_argument("project", metavar="PROJECT", help="the project's slug")
    export.add_argument("--format", required=True, metavar="F", help="such as trl-preference or annotations")
    export.add_argument("--output", required=True, type=Path, metavar="DIR")
    export.add_argument(
        "--as", dest="extension", default="jsonl", metavar="E", help="jsonl (the default), parquet or csv"
    )
    export.add_argument("--snapshot", metavar="ID", help="take the files of this snapshot instead of making one")
    export.add_argument("--name", help="what a new snapshot is called")
    export.add_argument(
        "--rule-verdicts",
        action="store_true",
        help="a new snapshot also has the format rule-verdicts: what the active rule set says of each response",
    )
    _common(export)
    watch = command("watch", _watch, "Watch a job until it has ended.")
    watch.add_argument("job", metavar="JOB")
    _common(watch)
    score = command("score", _score, "Score responses: JSON lines {messages, response} in, the same with reward out.")
    score.add_argument("model", metavar="MODEL", help="the reward model's id")
    score.add_argument("file", metavar="FILE", help="a file, or - for standard input")
    score.add_argument("--shaping", default="none", metavar="S")
    _quiet(score)
    return parser


def _common(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="print the result as JSON")
    _quiet(parser)


def _quiet(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quiet", action="store_true", help="show no progress")


# --- Commands ---


def _login(options: argparse.Namespace) -> None:
    url = options.url or input("Address: ").strip()
    target = Target(url, getpass("Key: ").strip())
    if urlsplit(target.address).scheme == "http" and urlsplit(target.address).hostname not in LOCAL:
        _say("Warning: without https:// everybody on the way can read the key.")
    with Tiebreak(target.address, target.token) as client:
        try:
            names = [project.slug for project in islice(client.projects(), 3)]
        except NotSignedIn:
            raise TiebreakError(
                f"{target.address} does not take this key: it is unknown, expired or revoked."
            ) from None
    path = credentials.save(target)
    known = f"; it sees {', '.join(names)}" if names else "; it sees no project yet"
    _print(f"The key works{known}. It is kept in {path}.")


def _projects(options: argparse.Namespace) -> None:
    with Tiebreak.stored() as client:
        for project in client.projects():
            _print(json.dumps(dict(project.raw)) if options.json else f"{project.slug}\t{project.role}\t{project.name}")


def _import(options: argparse.Namespace) -> None:
    with Tiebreak.stored() as client:
        started = client.import_file(options.project, options.file, options=options.options, progress=_shown(options))
        if options.no_wait:
            _print(json.dumps(dict(started.job.raw)) if options.json else started.job.id)
            return
        job = client.wait(started, progress=_shown(options))
    report = dict(job.result or {})
    if options.json:
        _print(json.dumps(report))
        return
    _print(" · ".join(f"{name} {count}" for name, count in report.items() if isinstance(count, int)))
    for error in report.get("errors") or ():
        _say(f"line {error.get('line')}: {error.get('field')}: {error.get('reason')}")


def _export(options: argparse.Namespace) -> None:
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    with Tiebreak.stored() as client:
        snapshot_id = options.snapshot
        if snapshot_id is None:
            name = options.name or f"Export of {datetime.now():%Y-%m-%d %H:%M}"
            asked = {"rule_verdicts": True} if options.rule_verdicts else {}
            started = client.create_snapshot(options.project, name, **asked)
            client.wait(started, progress=_shown(options))
            snapshot_id = str(started.id)
        snapshot = client.snapshot(snapshot_id)
        names = [PurePosixPath(name) for name in snapshot.files]
        wanted = [
            name for name in names if (str(name.parent), name.suffix) == (options.format, f".{options.extension}")
        ]
        if not wanted:
            known = sorted({f"{name.parent} as {name.suffix[1:]}" for name in names})
            wrong = f"{options.format} as {options.extension}"
            raise TiebreakError(f"There is no format {wrong}. The snapshot has {', '.join(known)}.")
        files = {}
        for name in wanted:
            to = folder / name.name
            split, extension = name.name.split(".", 1)
            client.download(snapshot, options.format, split, to, extension=extension, progress=_shown(options))
            files[str(to)] = snapshot.files[str(name)].rows
    (folder / "manifest.json").write_text(json.dumps(dict(snapshot.raw), indent=2) + "\n")
    if options.json:
        _print(json.dumps({"snapshot": snapshot.id, "content_hash": snapshot.content_hash, "files": files}))
        return
    for path, rows in files.items():
        _print(f"{path}: {rows} rows" if rows is not None else path)
    _print(f"Snapshot {snapshot.id}, content {snapshot.content_hash}")


def _watch(options: argparse.Namespace) -> None:
    with Tiebreak.stored() as client:
        job = client.wait(options.job, progress=_shown(options))
    _print(json.dumps(dict(job.raw)) if options.json else f"Job {job.id} ({job.kind}) {job.state}.")


def _score(options: argparse.Namespace) -> None:
    """Read items, score them, and print each with its reward; what is read stays in memory in parts only."""
    with Tiebreak.stored() as client, _opened(options.file) as stream:
        items = _items(stream, options.file)
        while part := list(islice(items, 2048)):
            scores = client.score(options.model, part, shaping=options.shaping, progress=_shown(options))
            for item, reward in zip(part, scores.rewards, strict=True):
                _print(json.dumps({**item, "reward": reward}, ensure_ascii=False))


def _items(stream: IO[str], name: str) -> Iterator[dict[str, Any]]:
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
        except ValueError:
            raise TiebreakError(f"{name}, line {number}: this is not JSON.") from None
        if not isinstance(item, dict) or not {"messages", "response"} <= set(item):
            raise TiebreakError(f"{name}, line {number}: expected an object with messages and response.")
        yield item


# --- Inside ---


def _object(text: str) -> dict[str, Any]:
    value = json.loads(text)
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("expected a JSON object")
    return value


def _opened(name: str) -> IO[str]:
    return sys.stdin if name == "-" else open(name, encoding="utf-8")


def _shown(options: argparse.Namespace) -> bool:
    return not options.quiet and sys.stderr.isatty()


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _complain(error: object, code: int) -> int:
    _say(f"tiebreak: {error}")
    return code
