"""How much one caller may ask for: buckets in the database that all web processes share, one statement per request.

The algorithm is GCRA, the token bucket that needs one number per caller: the time at which the bucket would be full
again. A caller may spend a whole bucket at once and gets it back evenly over the period, so no edge of a window lets
twice as much through.
"""

import math
from dataclasses import dataclass

from django.db import connection

SPEND = """
INSERT INTO core_allowance AS bucket (key, full_at)
SELECT {key}, extract(epoch FROM clock_timestamp()) + %(cost)s {source}
ON CONFLICT (key) DO UPDATE SET full_at = greatest(bucket.full_at + %(cost)s, excluded.full_at)
WHERE greatest(bucket.full_at + %(cost)s, excluded.full_at) <= excluded.full_at - %(cost)s + %(period)s
RETURNING full_at - extract(epoch FROM clock_timestamp()) AS until_full
"""
"""Take one unit out of the bucket `key`; no row comes back, and nothing is written, when it is empty."""
_LOOK = "SELECT full_at - extract(epoch FROM clock_timestamp()) FROM core_allowance WHERE key = %s"
_GIVE_BACK = "UPDATE core_allowance SET full_at = full_at - %(cost)s WHERE key = %(key)s"
_FORGET = "DELETE FROM core_allowance WHERE full_at < extract(epoch FROM clock_timestamp())"


@dataclass(frozen=True)
class Limit:
    """So many units per period (in seconds); 0 units means that nothing is limited."""

    name: str
    units: int
    period: float

    @property
    def values(self) -> dict[str, float]:
        """Return the parameters of SPEND."""
        return {"cost": self.period / self.units, "period": self.period}

    def left(self, until_full: float) -> "Left":
        """Return what a bucket holds that will be full in so many seconds."""
        empty = min(max(until_full, 0.0), self.period)
        return Left(self, math.floor((self.period - empty) * self.units / self.period + 1e-6), math.ceil(empty))


@dataclass(frozen=True)
class Left:
    """What is left of a limit: units, seconds until all of them are back, and whether this request was refused."""

    limit: Limit
    units: int
    seconds: int
    refused: bool = False

    @property
    def retry_after(self) -> int:
        """Return the seconds after which one unit is back."""
        return max(1, math.ceil(self.limit.period / self.limit.units))


def spend(key: str, limit: Limit) -> Left | None:
    """Take one unit out of a caller's bucket (one statement); None where nothing is limited."""
    if not limit.units:
        return None
    with connection.cursor() as cursor:
        cursor.execute(SPEND.format(key="%(key)s", source=""), {"key": key, **limit.values})
        row = cursor.fetchone()
    return limit.left(row[0]) if row else refused(key, limit)


def refused(key: str, limit: Limit) -> Left:
    """Return what a bucket that gave nothing says (one statement)."""
    left = look(key, limit)
    return Left(limit, 0, left.seconds if left else 0, refused=True)


def look(key: str, limit: Limit) -> Left | None:
    """Return what is left in a bucket without taking anything; None where nothing is limited or was ever taken."""
    if not limit.units:
        return None
    with connection.cursor() as cursor:
        cursor.execute(_LOOK, [key])
        row = cursor.fetchone()
    return limit.left(row[0]) if row else None


def forget_full() -> int:
    """Delete the buckets that are full again, which say nothing. Return how many."""
    with connection.cursor() as cursor:
        cursor.execute(_FORGET)
        return int(cursor.rowcount)


def give_back(key: str, limit: Limit) -> None:
    """Put one unit back that turned out not to count."""
    if limit.units:
        with connection.cursor() as cursor:
            cursor.execute(_GIVE_BACK, {"key": key, **limit.values})
