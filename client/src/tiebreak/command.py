"""The command `tiebreak`: log in, import, export, watch a job, score.

Exit codes: 0 done · 1 refused, failed or not found · 2 wrong arguments · 3 the server cannot be reached · 130 Ctrl-C.
"""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from getpass import getpass
from itertools import islice
from pathlib import Path
from typing import IO, Any
from urllib.parse import urlsplit

from tiebreak import credentials
from tiebreak.client import Tiebreak
from tiebreak.errors import ApiError, NetworkError, NotSignedIn, TiebreakError
from tiebreak.results import Snapshot
from tiebreak.transport import Target

REFUSED, USAGE, UNREACHABLE, INTERRUPTED = 1, 2, 3, 130
CAME_IN = ("created", "updated", "unchanged", "excluded")
RULE_VERDICTS = "rule-verdicts"
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
    export.add_argument("--format", required=True, metavar="F", help="trl-preference, annotations, rule-verdicts …")
    export.add_argument("--output", required=True, type=Path, metavar="DIR")
    export.add_argument(
        "--as", dest="extension", default="jsonl", metavar="E", help="jsonl (the default), parquet, csv or jsonl.gz"
    )
    export.add_argument(
        "--split", type=_share, action="append", metavar="NAME=SHARE", help="such as test=0.1; once for each split"
    )
    export.add_argument("--seed", type=int, metavar="N", help="of the division into splits")
    export.add_argument("--filters", type=_object, metavar="JSON", help='which comparisons, such as {"strength": 2}')
    export.add_argument("--card", action="store_true", help="bring README.md and croissant.json, too")
    export.add_argument("--snapshot", metavar="ID", help="take the files of this snapshot instead of making one")
    export.add_argument("--name", help="what a new snapshot is called")
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
    key = getpass("Key: ") if sys.stdin.isatty() else sys.stdin.readline()
    target = Target(url, key.strip())
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
        _heed(report)
        return
    _print(" · ".join(f"{name} {count}" for name, count in report.items() if isinstance(count, int)))
    for error in report.get("errors") or ():
        _say(f"line {error.get('line')}: {error.get('field') or 'row'}: {error.get('reason')}")
    _heed(report)


def _heed(report: Mapping[str, Any]) -> None:
    """Say what must not be overlooked; fail when no row came in, was there already, or was left out as asked."""
    for name, count in (report.get("ignored_fields") or {}).items():
        _say(f"The field {name!r} of {count} rows is not known, and was ignored.")
    if report.get("notice"):
        _say(str(report["notice"]))
    if not any(report.get(name) for name in CAME_IN):
        raise TiebreakError("Nothing was imported.")


def _export(options: argparse.Namespace) -> None:
    folder: Path = options.output
    folder.mkdir(parents=True, exist_ok=True)
    with Tiebreak.stored() as client:
        snapshot = _frozen(client, options)
        wanted = _files_of(snapshot, options.format, options.extension)
        # A card names files where they lie in the snapshot.
        below = folder / options.format if options.card else folder
        files = {}
        for split, name in wanted.items():
            to = below / f"{split}.{options.extension}"
            extension = options.extension
            client.download(snapshot, options.format, split, to, extension=extension, progress=_shown(options))
            files[str(to)] = snapshot.files[name].rows
        for name in ("README.md", "croissant.json") if options.card else ():
            client.download_document(snapshot, name, folder / name)
    (folder / "manifest.json").write_text(json.dumps(dict(snapshot.raw), indent=2) + "\n")
    if options.json:
        _print(json.dumps({"snapshot": snapshot.id, "content_hash": snapshot.content_hash, "files": files}))
        return
    for path, rows in files.items():
        _print(f"{path}: {rows} rows" if rows is not None else path)
    _print(f"Snapshot {snapshot.id}, content {snapshot.content_hash}")


def _frozen(client: Tiebreak, options: argparse.Namespace) -> Snapshot:
    """Return the snapshot that is named, or make one of the one format; the server knows which formats there are."""
    asked = {
        "splits": dict(options.split or ()),
        "seed": options.seed,
        "filters": options.filters,
    }
    chosen = {name: value for name, value in asked.items() if value not in (None, {})}
    if options.snapshot is None:
        # What the rules say is frozen on request, beside formats of labels.
        of_format = {"rule_verdicts": True} if options.format == RULE_VERDICTS else {"formats": [options.format]}
        chosen |= {"formats": ["annotations"], "encodings": [options.extension], **of_format}
        name = options.name or f"Export of {datetime.now():%Y-%m-%d %H:%M}"
        started = client.create_snapshot(options.project, name, **chosen)
        client.wait(started, progress=_shown(options))
        return client.snapshot(str(started.id))
    if chosen:
        raise TiebreakError(f"A snapshot that is there has its {', '.join(chosen)}; leave them out, or --snapshot.")
    snapshot = client.snapshot(options.snapshot)
    if snapshot.raw.get("project") != options.project:
        raise TiebreakError(f"Snapshot {snapshot.id} is not one of the project {options.project}.")
    return snapshot


def _files_of(snapshot: Snapshot, format: str, extension: str) -> dict[str, str]:
    """Return the names of a snapshot's files in one format and encoding, by split."""
    parts = {name: (*name.partition("/")[::2], name) for name in snapshot.files}
    found = {}
    for name, (of_format, file, _name) in parts.items():
        split, _dot, ending = file.partition(".")
        if (of_format, ending) == (format, extension):
            found[split] = name
    if not found:
        formats = sorted({of_format for of_format, _file, _name in parts.values()})
        endings = sorted({file.partition(".")[2] for _format, file, _name in parts.values()})
        known = f"It has {', '.join(formats)} as {', '.join(endings)}." if parts else "Its files are not written yet."
        raise TiebreakError(f"Snapshot {snapshot.id} has no {format} as {extension}. {known}")
    return found


def _watch(options: argparse.Namespace) -> None:
    with Tiebreak.stored() as client:
        job = client.wait(options.job, progress=_shown(options))
    _print(json.dumps(dict(job.raw)) if options.json else f"Job {job.id} ({job.kind}) {job.state}.")


def _score(options: argparse.Namespace) -> None:
    """Read items, score them, and print each with its reward; what is read stays in memory in parts only."""
    with Tiebreak.stored() as client, _opened(options.file) as stream:
        items = _items(stream, options.file)
        while part := list(islice(items, 2048)):
            try:
                scores = client.score(
                    options.model, [item for _, item in part], shaping=options.shaping, progress=_shown(options)
                )
            except ApiError as error:
                raise _at_lines(error, options.file, [number for number, _ in part]) from error
            for (_, item), reward in zip(part, scores.rewards, strict=True):
                _print(json.dumps({**item, "reward": reward}, ensure_ascii=False))


def _items(stream: IO[bytes], name: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield the line number and the item of each line."""
    for number, line in enumerate(stream, start=1):
        if not line.strip():
            continue
        try:
            item = json.loads(line.decode())
        except UnicodeDecodeError:
            raise TiebreakError(f"{name}, line {number}: this is not UTF-8.") from None
        except ValueError:
            raise TiebreakError(f"{name}, line {number}: this is not JSON.") from None
        if not isinstance(item, dict) or not {"messages", "response"} <= set(item):
            raise TiebreakError(f"{name}, line {number}: expected an object with messages and response.")
        yield number, item


def _at_lines(error: ApiError, name: str, lines: Sequence[int]) -> TiebreakError:
    """Return an error whose pointers into the items name lines of the file instead."""
    said = []
    for each in error.errors:
        parts = each.pointer.split("/", 3)
        if parts[:2] != ["", "items"] or len(parts) < 3 or not parts[2].isdecimal() or int(parts[2]) >= len(lines):
            return error
        rest = f", /{parts[3]}" if parts[3:] else ""
        said.append(f"{name}, line {lines[int(parts[2])]}{rest}: {each.detail}")
    return TiebreakError(" ".join(said)) if said else error


# --- Inside ---


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(f"expected a JSON object: {error}") from None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError("expected a JSON object")
    return value


def _share(text: str) -> tuple[str, float]:
    name, _equals, share = text.partition("=")
    try:
        return name, float(share)
    except ValueError:
        raise argparse.ArgumentTypeError(f"expected a name and a share, such as test=0.1, not {text!r}") from None


def _opened(name: str) -> IO[bytes]:
    return sys.stdin.buffer if name == "-" else open(name, "rb")


def _shown(options: argparse.Namespace) -> bool:
    return not options.quiet and sys.stderr.isatty()


def _print(text: str) -> None:
    sys.stdout.write(text + "\n")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")


def _complain(error: object, code: int) -> int:
    _say(f"tiebreak: {error}")
    return code
