"""What a snapshot is asked to hold: splits, seed, filters, formats and encodings, checked and in one spelling."""

from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from django.utils.dateparse import parse_date, parse_datetime
from django.utils.translation import gettext as _

from apps.core.errors import FieldError, InvalidInput
from apps.core.json_values import is_whole, why_unstorable
from apps.exports.encodings import DEFAULT_ENCODINGS, ENCODINGS
from apps.exports.formats import FORMATS, RULE_VERDICTS
from apps.labeling.models import QueueItem
from worker.core.consensus import Status

DEFAULT_SPLITS = {"train": 0.95, "validation": 0.05}
MAX_SPLITS = 10
MAX_NAMED = 200
"""Values that one filter may name."""
PEOPLE, IMPORTED = "people", "imported"
RULES = "rule_verdicts"


class _Wrong(ValueError):
    """A value breaks a rule; the message is for the person who sent it."""


def parse_selection(body: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return the name and the selection of a snapshot; raise InvalidInput with one error per wrong field.

    `formats` and `encodings` are in the selection only where they differ from the defaults: every format, as JSON
    lines, Parquet and CSV; `rule_verdicts` only where it is true.
    """
    errors = [
        FieldError(f"/{name}", _("There is no such field."))
        for name in sorted(set(body) - {"name", "splits", "seed", "filters", "formats", "encodings", RULES})
    ]
    name = body.get("name")
    if not isinstance(name, str) or not name.strip() or len(name) > 120:
        errors.append(FieldError("/name", _("Expected a name of at most 120 characters.")))
    elif problem := why_unstorable(name):
        errors.append(FieldError("/name", _("The name %(problem)s.") % {"problem": problem}))
    splits = body.get("splits") or DEFAULT_SPLITS
    if not _is_splits(splits):
        example = '{"train": 0.95, "validation": 0.05}'
        errors.append(
            FieldError("/splits", _("Expected shares that add up to 1, such as %(example)s.") % {"example": example})
        )
    elif len({name.casefold() for name in splits}) < len(splits):  # one file, on many disks
        errors.append(FieldError("/splits", _("Two names of splits differ by capital letters only.")))
    seed = body.get("seed", 0)
    if not is_whole(seed) or not 0 <= seed < 2**31:
        errors.append(FieldError("/seed", _("Expected a whole number from 0.")))
    selection: dict[str, Any] = {"splits": splits, "seed": seed, "filters": _filters(body.get("filters"), errors)}
    if not isinstance(body.get(RULES, False), bool):
        errors.append(FieldError(f"/{RULES}", _("Expected true or false.")))
    elif body.get(RULES):
        selection[RULES] = True
    for field, known, default in (
        ("formats", tuple(FORMATS), tuple(FORMATS)),
        ("encodings", tuple(ENCODINGS), DEFAULT_ENCODINGS),
    ):
        chosen = _chosen(body.get(field), field, known, errors)
        if chosen and chosen != list(default):
            selection[field] = chosen
    if errors:
        raise InvalidInput(_("The snapshot cannot be made like this."), errors)
    return str(name).strip(), selection


def formats_of(selection: dict[str, Any]) -> list[str]:
    """Return the names of the formats that are written."""
    return [*selection.get("formats", FORMATS), *([RULE_VERDICTS] if selection.get(RULES) else [])]


def encodings_of(selection: dict[str, Any]) -> list[str]:
    """Return the names of the encodings that are written."""
    return list(selection.get("encodings", DEFAULT_ENCODINGS))


def _is_splits(splits: object) -> bool:
    if not isinstance(splits, dict) or not 1 <= len(splits) <= MAX_SPLITS:
        return False
    names_fit = all(isinstance(name, str) and name.isidentifier() and len(name) <= 30 for name in splits)
    shares_fit = all(isinstance(x, int | float) and not isinstance(x, bool) and 0 <= x <= 1 for x in splits.values())
    return names_fit and shares_fit and abs(sum(splits.values()) - 1) < 1e-6


def _chosen(value: Any, field: str, known: tuple[str, ...], errors: list[FieldError]) -> list[str]:
    """Return the chosen names in the order in which they are known; nothing chosen means the default."""
    if value is None or value == []:
        return []
    if not isinstance(value, list) or any(name not in known for name in value):
        expected = _("Expected a list of these: %(known)s.") % {"known": ", ".join(known)}
        errors.append(FieldError(f"/{field}", expected))
        return []
    return [name for name in known if name in value]


# --- Filters ---


def _filters(value: Any, errors: list[FieldError]) -> dict[str, Any]:
    value = {} if value is None else value
    if not isinstance(value, dict) or set(value) - set(FILTERS):
        errors.append(FieldError("/filters", _("Known filters are %(known)s.") % {"known": ", ".join(sorted(FILTERS))}))
        return {}
    if problem := why_unstorable(value):
        errors.append(FieldError("/filters", _("The value %(problem)s.") % {"problem": problem}))
        return {}
    parsed = {}
    for name, wanted in value.items():
        try:
            parsed[name] = FILTERS[name](wanted)
        except _Wrong as wrong:
            errors.append(FieldError(f"/filters/{name}", str(wrong)))
    return parsed


def _texts(value: Any) -> list[str]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_NAMED or not all(isinstance(x, str) for x in value):
        raise _Wrong(_("Expected a list of one or more texts."))
    return sorted(set(value))


def _domains(value: Any) -> list[str]:
    try:
        return _texts(value)
    except _Wrong:
        raise _Wrong(_("Expected a list of one or more domains.")) from None


def _one_of(*known: str) -> Callable[[Any], list[str]]:
    def parse(value: Any) -> list[str]:
        if not isinstance(value, list) or not value or any(item not in known for item in value):
            raise _Wrong(_("Expected a list of these: %(known)s.") % {"known": ", ".join(known)})
        return [name for name in known if name in value]

    return parse


def _object(value: Any, *names: str) -> dict[str, Any]:
    if not isinstance(value, dict) or not value or set(value) - set(names):
        raise _Wrong(_("Expected an object with %(names)s.") % {"names": ", ".join(names)})
    return value


def _strength(value: Any) -> dict[str, int]:
    bounds = _object(value, "min", "max")
    if not all(is_whole(bound) and 0 <= bound <= 3 for bound in bounds.values()):
        raise _Wrong(_("Expected whole numbers from 0 to 3: the strength is the preference without its sign."))
    if bounds.get("min", 0) > bounds.get("max", 3):
        raise _Wrong(_("The smallest strength is larger than the largest."))
    return bounds


def _agreement(value: Any) -> dict[str, Any]:
    wanted = dict(_object(value, "status", "max_spread"))
    if "status" in wanted:
        wanted["status"] = _one_of(*(status.value for status in Status))(wanted["status"])
    if "max_spread" in wanted and not (is_whole(wanted["max_spread"]) and 0 <= wanted["max_spread"] <= 6):
        raise _Wrong(_("Expected a whole number from 0 to 6 as the widest spread."))
    return wanted


def _submitted(value: Any) -> dict[str, str]:
    """Return the bounds in UTC, the first inclusive and the last exclusive; a day as the last one is included."""
    bounds = _object(value, "from", "to")
    times = {name: _moment(bound, end=name == "to") for name, bound in bounds.items()}
    if len(times) == 2 and times["from"] >= times["to"]:
        raise _Wrong(_("The period ends before it begins."))
    return {name: moment.isoformat().replace("+00:00", "Z") for name, moment in times.items()}


def _moment(value: Any, *, end: bool) -> datetime:
    problem = _Wrong(_("Expected a day such as 2026-11-27, or a time with its zone such as 2026-11-27T12:00:00Z."))
    if not isinstance(value, str):
        raise problem
    try:
        day, moment = parse_date(value), parse_datetime(value)
        if day is not None and len(value) == len(date.min.isoformat()):
            return datetime.combine(day + timedelta(days=end), time.min, UTC)
        if moment is None or moment.tzinfo is None:
            raise problem
        return moment.astimezone(UTC)
    except (ValueError, OverflowError):
        raise problem from None


def _numbers(value: Any) -> list[int]:
    if not isinstance(value, list) or not 1 <= len(value) <= MAX_NAMED:
        raise _Wrong(_("Expected a list of one or more version numbers."))
    if not all(is_whole(number) and 1 <= number < 2**31 for number in value):
        raise _Wrong(_("Expected a list of one or more version numbers."))
    return sorted(set(value))


def _source(value: Any) -> str:
    if value not in (PEOPLE, IMPORTED):
        raise _Wrong(_('Expected "people" or "imported".'))
    return str(value)


FILTERS: dict[str, Callable[[Any], Any]] = {
    "state": _one_of(*QueueItem.State.values),
    "domain": _domains,
    "strength": _strength,
    "agreement": _agreement,
    "submitted": _submitted,
    "guideline_version": _numbers,
    "consensus_rule": _texts,
    "source": _source,
}
