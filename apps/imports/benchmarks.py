"""The prompts of a benchmark, from a file of any kind that has them."""

from pathlib import Path
from typing import Any

from apps.imports.cells import meant, structure, turns, with_meaning
from apps.imports.files import container_of, refused, rows_of
from worker.core.contamination import Benchmark

COLUMNS = ("prompt", "question", "text", "instruction", "input", "messages", "turns")
_MEANINGS = {**dict.fromkeys(COLUMNS, turns), "messages": structure, "turns": structure}
MAX_PROMPTS = 1_000_000
MAX_TEXT_BYTES = 256 * 1024 * 1024


def read_benchmark(path: Path) -> Benchmark:
    """Return the benchmark in a file: rows with a prompt, or plain text with one prompt on each line."""
    with path.open("rb") as stream:
        head = stream.read(4096)
    if not head.startswith(b"\x1f\x8b") and container_of(head, "") in {"jsonl", "csv"} and head.lstrip()[:1] != b"{":
        return Benchmark(_plain_lines(path))
    prompts: list[str] = []
    with rows_of(path, file_name="") as rows:
        for line, row in with_meaning(rows, meant, _MEANINGS):
            if not (texts := _texts(row)):
                raise refused(f"Line {line} of the benchmark has none of {', '.join(COLUMNS)}.")
            prompts += texts
            if len(prompts) > MAX_PROMPTS:
                raise refused(f"The benchmark has more than {MAX_PROMPTS} prompts.")
    return Benchmark(prompts)


def _plain_lines(path: Path) -> list[str]:
    if path.stat().st_size > MAX_TEXT_BYTES:
        raise refused(f"A benchmark in plain text may have {MAX_TEXT_BYTES // 1024 // 1024} MiB.")
    try:
        return [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    except UnicodeDecodeError as error:
        raise refused("The benchmark is not UTF-8.") from error


def _texts(row: object) -> list[str]:
    """Return what is asked in a row of a benchmark; of conversations, what the user says."""
    if isinstance(row, str):
        return [row]
    fields: dict[str, Any] = row if isinstance(row, dict) else {}
    value = next((fields[name] for name in COLUMNS if fields.get(name)), None)
    if isinstance(value, str):
        return [value]
    texts = []
    for turn in value if isinstance(value, list) else []:
        content = turn.get("content") if isinstance(turn, dict) and turn.get("role", "user") == "user" else turn
        texts += [content] if isinstance(content, str) else []
    return texts
