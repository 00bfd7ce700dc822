"""The queue as a model in plain Python: which pair each person must get next, and what an answer changes."""

from dataclasses import dataclass, field

from worker.core.consensus import Status, consensus

PAIRS = 4
ANNOTATORS, MOST, SPREAD = 2, 4, 1


@dataclass
class Pair:
    """What the model knows of one pair."""

    level: float
    wanted: int
    cohort: frozenset[int] | None
    state: str = "open"
    had: set[int] = field(default_factory=set)
    votes: list[tuple[int, int]] = field(default_factory=list)
    """Who said what, in the order of submission; a changed answer is the newest."""
    flags: set[int] = field(default_factory=set)


@dataclass
class Lease:
    """What the model knows of one assignment; `state` as in the database, and "ahead" for what nobody has seen."""

    pair: int
    person: int
    state: str


class Model:
    """The queue, without a database."""

    def __init__(self, pairs: list[Pair], *, limit: int) -> None:
        self.pairs, self.limit = pairs, limit
        self.leases: dict[int, Lease] = {}

    def taken(self, pair: int) -> int:
        """Return how many slots of a pair are held."""
        return sum(
            each.pair == pair and each.state in ("leased", "ahead", "submitted") for each in self.leases.values()
        )

    def has_room(self, pair: int) -> bool:
        """Say whether somebody may still be given this pair."""
        return self.pairs[pair].state == "open" and self.taken(pair) < self.pairs[pair].wanted

    def any(self, *states: str) -> list[int]:
        """Return the assignments in these states, or all, oldest first."""
        return sorted(pk for pk, each in self.leases.items() if not states or each.state in states)

    def mine(self, person: int, *states: str) -> list[int]:
        """Return the assignments of a person in these states, oldest first."""
        return sorted(pk for pk, each in self.leases.items() if each.person == person and each.state in states)

    def reached(self, person: int) -> bool:
        """Say whether a person's limit leaves no room for one more."""
        return bool(self.limit) and len(self.mine(person, "leased", "ahead", "submitted")) >= self.limit

    def first_for(self, person: int) -> int | None:
        """Return the pair that the queue must give: of one's cohort first; then the highest level, begun, oldest."""
        return min(
            filter(lambda pair: self.has_room(pair) and self._may_have(person, pair), range(PAIRS)),
            key=self._place,
            default=None,
        )

    def _may_have(self, person: int, number: int) -> bool:
        pair = self.pairs[number]
        return person not in pair.had and (pair.cohort is None or person in pair.cohort)

    def _place(self, number: int) -> tuple[bool, float, bool, int]:
        pair = self.pairs[number]
        return pair.cohort is None, -pair.level, self.taken(number) == 0, number

    def unseen_for(self, person: int) -> list[int]:
        """Return the assignments of which one is taken from somebody who has not seen it, when nothing else is left."""
        unseen = [
            pk
            for pk, each in self.leases.items()
            if each.state == "ahead" and self.pairs[each.pair].state == "open" and self._may_have(person, each.pair)
        ]
        pairs = {self.leases[pk].pair for pk in unseen}
        first = min(pairs, key=lambda number: (-self.pairs[number].level, number), default=None)
        return [pk for pk in unseen if self.leases[pk].pair == first]

    def expired_for(self, person: int) -> int | None:
        """Return the assignment that ran out on this person first and still has room."""
        return next((pk for pk in self.mine(person, "expired") if self.has_room(self.leases[pk].pair)), None)

    def vote(self, pk: int, vote: int) -> None:
        """Note an answer and let the pair ask for as many people as it needs."""
        lease = self.leases[pk]
        pair = self.pairs[lease.pair]
        lease.state = "submitted"
        pair.votes = [each for each in pair.votes if each[0] != lease.person] + [(lease.person, vote)]
        outcome = consensus(
            [each for _person, each in pair.votes],
            annotators=ANNOTATORS,
            max_annotators=MOST,
            spread_limit=SPREAD,
        )
        if pair.state != "closed":
            if outcome.status is Status.ESCALATED and pair.wanted <= len(pair.votes):
                pair.wanted = min(len(pair.votes) + 2, MOST)
            pair.state = "complete" if len(pair.votes) >= pair.wanted else "open"

    def forget(self, pk: int) -> None:
        """Undo a lease that nobody has seen."""
        lease = self.leases.pop(pk)
        self.pairs[lease.pair].had.discard(lease.person)
