"""Check import rows: one message per wrong field. What passes carries the hashes it is stored under."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

import orjson

from apps.core.json_values import whole, why_unstorable
from apps.labeling.answers import MAX_ACTIVE_SECONDS
from apps.projects.protocol import RATING_MAX, RATING_MIN
from apps.prompts.models import json_hash

MAX_ROW_BYTES = 16 * 1024 * 1024
MAX_RESPONSES = 8
MAX_ANNOTATIONS = 50
MAX_PROBLEMS = 100
MAX_CONFIDENCE = 7
MAX_VERSION = 1_000_000
ROLES = ("system", "user", "assistant")
NATIVE_FIELDS = (
    "external_id",
    "messages",
    "prompt",
    "responses",
    "pairs",
    "reference",
    "metadata",
    "annotations",
    "gold",
)
OUR_FIELDS = frozenset(NATIVE_FIELDS) | {"split", "prompt_hash", "consensus"}
"""What a row may have without a word: the fields of an import row, and what our own `annotations` files say besides."""
MESSAGE_FIELDS = frozenset({"role", "content"})
RESPONSE_FIELDS = frozenset({"text", "model"})
LABEL_FIELDS = frozenset({"annotator", "preference", "justification", "ratings", "active_seconds", "problems"})
LABEL_FIELDS |= {"confidence", "shown_order", "paste_share", "submitted_at", "guideline_version"}
OUR_LABEL_FIELDS = LABEL_FIELDS | {"kept", "revision", "imported", "propensity"}


class BadRow(Exception):
    """A row that cannot be imported; `field` is a JSON pointer into it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field, self.reason = field, reason


class BrokenOff(BadRow):
    """A row after which nothing of its file can be read."""


@dataclass(frozen=True)
class ImportedAnnotation:
    """A label that came along; `preference` is None for neither valid, and 0 is a tie.

    What follows the ratings is how it was given, where the source says so: our own `annotations` files do.
    """

    annotator: str
    preference: int | None
    justification: str
    ratings: tuple[dict[str, int], dict[str, int]]
    active_seconds: int | None = None
    problems: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    confidence: int | None = None
    swapped: bool = False
    pasted_characters: int | None = None
    submitted_at: datetime | None = None
    guideline_version: int | None = None
    """Number of the guideline version where the label was given: it says nothing about the versions here."""

    @cached_property
    def answer_hash(self) -> str:
        """Return the hash under which the label is stored."""
        chosen: list[object] = [self.preference, self.ratings, self.justification]
        if any(self.problems) or self.confidence is not None:
            chosen += [self.problems, self.confidence]
        return json_hash(chosen)


@dataclass(slots=True)
class ImportedPair:
    """One comparison of an import row; not frozen, since a million of them are made and that costs.

    `messages` is the conversation in its canonical spelling, of which `prompt_hash` is the hash; `hashes` are those of
    the texts.
    """

    external_id: str
    messages: str
    prompt_hash: str
    texts: tuple[str, str]
    hashes: tuple[str, str]
    models: tuple[str, str]
    reference: str
    metadata: dict[str, Any]
    gold: int | None
    annotations: tuple[ImportedAnnotation, ...]

    @property
    def content(self) -> tuple[Any, ...]:
        """Return what must be the same for the row to be the same."""
        return (self.prompt_hash, *self.hashes, self.reference, self.metadata, self.gold, self.models)


def storable(row: object) -> object:
    """Return a row as it is, or a BadRow for one with a value that JSON has and PostgreSQL has not."""
    problem = why_unstorable(row)
    return row if problem is None else BadRow("", f"The row {problem}.")


def text_hash(text: str) -> str:
    """Return `json_hash` of a text that is known to be storable, at a tenth of its price."""
    return hashlib.sha256(orjson.dumps(text)).hexdigest()


def spelled_messages(messages: list[dict[str, str]]) -> bytes:
    """Return the canonical spelling (`canonical_json`) of checked messages."""
    return b"[%b]" % b", ".join(
        b'{"content": %b, "role": "%b"}' % (orjson.dumps(message["content"]), message["role"].encode())
        for message in messages
    )


def parse_row(row: object) -> list[ImportedPair]:
    """Return the comparisons of one import row (two for each pair of more than two responses); raise BadRow.

    The values must be storable; whoever reads a file sees to that (`storable`), with what it knows of its bytes.
    """
    if not isinstance(row, dict):
        raise BadRow("", "A row must be a JSON object.")
    messages = _messages(row)
    responses = row.get("responses")
    if not isinstance(responses, list) or not 2 <= len(responses) <= MAX_RESPONSES:
        raise BadRow("/responses", f"Expected a list of 2 to {MAX_RESPONSES} responses.")
    texts, models = zip(*(_response(item, index) for index, item in enumerate(responses)), strict=True)
    metadata, reference = row.get("metadata") or {}, row.get("reference") or ""
    if not isinstance(metadata, dict):
        raise BadRow("/metadata", "Expected an object.")
    if not isinstance(reference, str):
        raise BadRow("/reference", "Expected text or null.")
    pairs = _pairs(row, len(responses))
    external_id = row.get("external_id")
    if external_id is None:
        external_id = json_hash([messages, list(texts)])[:32]
    elif not isinstance(external_id, str) or not 0 < len(external_id) <= 180:
        raise BadRow("/external_id", "Expected a text of 1 to 180 characters.")
    if len(pairs) > 1 and (row.get("annotations") or row.get("gold") is not None):
        raise BadRow("/annotations", "Labels need a row with one pair; this one has several.")
    gold = _number(row.get("gold"), -3, 3, "/gold", "Expected a preference from -3 to 3, or null.")
    annotations = _annotations(row.get("annotations") or [])
    spelling = spelled_messages(messages)
    prompt_hash = hashlib.sha256(spelling).hexdigest()
    hashes = [text_hash(text) for text in texts]
    built = []
    for first, second in pairs:
        if texts[first] == texts[second]:
            raise BadRow(f"/responses/{second}", f"The text is the same as that of response {first}.")
        built.append(
            ImportedPair(
                external_id=external_id if len(pairs) == 1 else f"{external_id}#{first}-{second}",
                messages=spelling.decode(),
                prompt_hash=prompt_hash,
                texts=(texts[first], texts[second]),
                hashes=(hashes[first], hashes[second]),
                models=(models[first], models[second]),
                reference=reference,
                metadata=metadata,
                gold=gold,
                annotations=annotations,
            )
        )
    return built


def _messages(row: dict[str, Any]) -> list[dict[str, str]]:
    messages = row.get("messages")
    if messages is None and "prompt" in row:
        if not isinstance(row["prompt"], str) or not row["prompt"].strip():
            raise BadRow("/prompt", "Expected text.")
        return [{"role": "user", "content": row["prompt"]}]
    if not isinstance(messages, list) or not messages:
        raise BadRow("/messages", "Expected a list of messages, or a `prompt`.")
    for index, message in enumerate(messages):
        pointer = f"/messages/{index}"
        if not isinstance(message, dict) or message.get("role") not in ROLES:
            raise BadRow(f"{pointer}/role", f"Expected one of {', '.join(ROLES)}.")
        if not isinstance(message.get("content"), str):
            raise BadRow(f"{pointer}/content", "Expected text.")
    if messages[-1]["role"] != "user":
        raise BadRow(f"/messages/{len(messages) - 1}/role", "The conversation must end with a user turn.")
    return [{"role": message["role"], "content": message["content"]} for message in messages]


def _response(item: object, index: int) -> tuple[str, str]:
    fields = {"text": item} if isinstance(item, str) else item
    text = fields.get("text") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not isinstance(text, str):
        raise BadRow(f"/responses/{index}/text", "Expected text.")
    model = fields.get("model") or ""
    if not isinstance(model, str) or len(model) > 200:
        raise BadRow(f"/responses/{index}/model", "Expected a name of at most 200 characters, or null.")
    return text, model


def _pairs(row: dict[str, Any], count: int) -> list[tuple[int, int]]:
    named = row.get("pairs")
    if named is None:
        return [(first, second) for first in range(count) for second in range(first + 1, count)]
    pairs = []
    if not isinstance(named, list) or not named:
        raise BadRow("/pairs", "Expected a list of pairs such as [[0, 1]].")
    for index, pair in enumerate(named):
        first, second = map(whole, pair) if isinstance(pair, list) and len(pair) == 2 else (None, None)
        if first is None or second is None or first == second or not (0 <= first < count and 0 <= second < count):
            raise BadRow(f"/pairs/{index}", f"Expected two different numbers from 0 to {count - 1}.")
        pairs.append((first, second))
    return pairs


def _annotations(items: object) -> tuple[ImportedAnnotation, ...]:
    if not isinstance(items, list) or len(items) > MAX_ANNOTATIONS:
        raise BadRow("/annotations", f"Expected a list of at most {MAX_ANNOTATIONS} labels.")
    annotations = [_annotation(item, f"/annotations/{index}") for index, item in enumerate(items)]
    if len({annotation.annotator for annotation in annotations}) != len(annotations):
        raise BadRow("/annotations", "One annotator has two labels for the same pair.")
    return tuple(annotations)


def _annotation(item: object, pointer: str) -> ImportedAnnotation:
    if not isinstance(item, dict):
        raise BadRow(pointer, "Expected an object.")
    annotator: Any = item.get("annotator")
    if not isinstance(annotator, str) or not 0 < len(annotator) <= 80:
        raise BadRow(f"{pointer}/annotator", "Expected a name of 1 to 80 characters.")
    preference = whole(item.get("preference"))
    if item.get("preference") != "neither" and (preference is None or not -3 <= preference <= 3):
        raise BadRow(f"{pointer}/preference", 'Expected -3 to 3, or "neither".')
    justification = item.get("justification") or ""
    if not isinstance(justification, str):
        raise BadRow(f"{pointer}/justification", "Expected text or null.")
    ratings = item.get("ratings") or [{}, {}]
    if not isinstance(ratings, list) or len(ratings) != 2:
        raise BadRow(f"{pointer}/ratings", "Expected two objects, one for each response.")
    return ImportedAnnotation(
        annotator=annotator,
        preference=preference,
        justification=justification,
        ratings=(_side(ratings[0], f"{pointer}/ratings/0"), _side(ratings[1], f"{pointer}/ratings/1")),
        active_seconds=_number(
            item.get("active_seconds"), 0, MAX_ACTIVE_SECONDS, f"{pointer}/active_seconds", "Expected whole seconds."
        ),
        problems=_problems(item.get("problems"), f"{pointer}/problems"),
        confidence=_confidence(item.get("confidence"), f"{pointer}/confidence"),
        swapped=_swapped(item.get("shown_order"), f"{pointer}/shown_order"),
        pasted_characters=_pasted(item.get("paste_share"), len(justification), f"{pointer}/paste_share"),
        submitted_at=_moment(item.get("submitted_at"), f"{pointer}/submitted_at"),
        guideline_version=_version(item.get("guideline_version"), f"{pointer}/guideline_version"),
    )


def _problems(value: object, pointer: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    if value is None:
        return (), ()
    if not isinstance(value, list) or len(value) != 2:
        raise BadRow(pointer, "Expected two lists, one for each response.")
    for side in value:
        if not isinstance(side, list) or len(side) > MAX_PROBLEMS:
            raise BadRow(pointer, f"Expected two lists of at most {MAX_PROBLEMS} names.")
        if not all(isinstance(name, str) and 0 < len(name) <= 80 for name in side):
            raise BadRow(pointer, "Expected names of 1 to 80 characters.")
    return tuple(value[0]), tuple(value[1])


def _confidence(value: Any, pointer: str) -> int | None:
    return _number(value, 1, MAX_CONFIDENCE, pointer, f"Expected a whole number from 1 to {MAX_CONFIDENCE}, or null.")


def _version(value: Any, pointer: str) -> int | None:
    return _number(value, 1, MAX_VERSION, pointer, "Expected the number of a guideline version, from 1, or null.")


def _number(value: Any, least: int, most: int, pointer: str, wrong: str) -> int | None:
    """Return a whole number between these, or None for null; raise BadRow for anything else."""
    number = whole(value)
    if value is not None and (number is None or not least <= number <= most):
        raise BadRow(pointer, wrong)
    return number


def _swapped(value: object, pointer: str) -> bool:
    if value not in (None, [1, 2], [2, 1]):
        raise BadRow(pointer, "Expected [1, 2] or [2, 1], or null.")
    return value == [2, 1]


def _pasted(share: Any, characters: int, pointer: str) -> int | None:
    """Return how many characters a share stands for: from those it comes out as the same number again."""
    if share is None:
        return None
    if isinstance(share, bool) or not isinstance(share, int | float) or not 0 <= share <= 1:
        raise BadRow(pointer, "Expected a number from 0 to 1, or null.")
    return round(share * max(1, characters))


def _moment(value: object, pointer: str) -> datetime | None:
    """Return when a label was given; nobody gives one in the future, or did before there were computers to use."""
    if value is None:
        return None
    try:
        moment = datetime.fromisoformat(value if isinstance(value, str) else "")
    except ValueError:
        moment = None
    if moment is None or moment.tzinfo is None or moment.year < 1970 or moment > datetime.now(UTC):
        raise BadRow(pointer, "Expected a time with its zone, such as 2026-05-31T12:00:00Z, from 1970 until now.")
    return moment.astimezone(UTC)


def _side(side: object, pointer: str) -> dict[str, int]:
    if not isinstance(side, dict):
        raise BadRow(pointer, "Expected an object of ratings.")
    ratings = {}
    for name, value in side.items():
        number = whole(value)
        if number is None or not RATING_MIN <= number <= RATING_MAX:
            raise BadRow(f"{pointer}/{name}", f"Expected a whole number from {RATING_MIN} to {RATING_MAX}.")
        ratings[name] = number
    return ratings
