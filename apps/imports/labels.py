"""Labels that come along: whose they are, which of them are new, and the rows they become."""

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from django.contrib.auth.hashers import make_password

from apps.accounts.models import User
from apps.imports.rows import BadRow, ImportedAnnotation, ImportedPair
from apps.imports.tables import NewRows, draw_ids
from apps.labeling.consensus import settle_new
from apps.labeling.models import Annotation, Assignment, Consensus, QueueItem
from apps.projects.models import Membership, Project
from apps.projects.protocol import UNSAFE, Protocol
from apps.prompts.models import canonical_json
from worker.core.seen_keys import MISSING, SeenKeys

Labels = dict[str, dict[str, int]]
"""External id → annotator's name → number of the label that is there: two labels share it when they say the same."""
_NOW = datetime.max.replace(tzinfo=UTC)
"""Stands for the time of the import, which comes after every time that a file may name."""


@dataclass(frozen=True)
class Person:
    """The account of an annotator; `real` is one that a person signs in with."""

    id: int
    real: bool


class People:
    """The accounts of the annotators of one run, made where missing; in a dry run none is made."""

    def __init__(self, *, project: Project, accounts: Mapping[str, User], dry_run: bool) -> None:
        self._project, self._dry_run = project, dry_run
        self._people = {name: Person(user.pk, real=not user.imported_name) for name, user in accounts.items()}
        self._taken: set[str] = set()

    def know(self, names: set[str]) -> None:
        """Look up, and make, the named, inactive accounts of these annotators; nobody can sign in to them."""
        new = names - self._people.keys() - self._taken
        if not new:
            return
        usernames = {name: f"{name}@{self._project.slug}"[:150] for name in sorted(new)}
        if not self._dry_run:
            User.objects.bulk_create(
                [
                    User(username=username, imported_name=name, is_active=False, password=make_password(None))
                    for name, username in usernames.items()
                ],
                ignore_conflicts=True,
            )
        accounts = User.objects.in_bulk(usernames.values(), field_name="username")
        ours = []
        for name, username in usernames.items():
            account = accounts.get(username)
            if account is not None and account.imported_name != name:
                self._taken.add(name)
            else:
                self._people[name] = Person(account.pk if account else 0, real=False)
                ours += [account] if account else []
        if not self._dry_run:
            Membership.objects.bulk_create(
                [Membership(project=self._project, user=user, role=Membership.Role.ANNOTATOR) for user in ours],
                ignore_conflicts=True,
            )

    def check(self, pair: ImportedPair) -> None:
        """Raise BadRow when a label's name is that of an account of somebody real."""
        for label in pair.annotations:
            if label.annotator in self._taken:
                raise BadRow("/annotations", f"The name {label.annotator!r} belongs to an account of this project.")

    def __getitem__(self, name: str) -> Person:
        return self._people[name]


def names_in(pairs: Iterable[tuple[int, ImportedPair]]) -> set[str]:
    """Return the annotators of a batch."""
    return {label.annotator for _, pair in pairs for label in pair.annotations}


def stored_labels(comparison_ids: Collection[int]) -> Labels:
    """Return the labels that these comparisons have (one query, none without comparisons)."""
    found: Labels = defaultdict(dict)
    if comparison_ids:
        rows = Annotation.objects.current().filter(comparison__in=comparison_ids)
        said = ("comparison__external_id", "answer_hash", "annotator__imported_name", "annotator__username")
        for external_id, answer_hash, imported_name, username in rows.values_list(*said):
            found[external_id][imported_name or username] = _number(answer_hash)
    return found


class SeenLabels:
    """The labels of a file so far, for a run that stores none of them: sixteen bytes each."""

    def __init__(self) -> None:
        self._numbers = SeenKeys()

    def add(self, pairs: Iterable[ImportedPair]) -> None:
        """Remember the labels of these pairs; the first one of a person for a pair stays."""
        found = [(_key(pair, label), number_of(label)) for pair in pairs for label in pair.annotations]
        keys, numbers = np.array(found, dtype=np.int64).reshape(-1, 2).T
        self._numbers.add(keys, numbers)

    def find(self, pairs: Iterable[ImportedPair]) -> Labels:
        """Return which labels these pairs had before, of the people who label them here."""
        given = [(pair, label) for pair in pairs for label in pair.annotations]
        numbers = self._numbers.find(np.array([_key(pair, label) for pair, label in given], dtype=np.int64))
        found: Labels = defaultdict(dict)
        for (pair, label), number in zip(given, numbers.tolist(), strict=True):
            if number != MISSING:
                found[pair.external_id][label.annotator] = number
        return found


def fresh_labels(pair: ImportedPair, there: Mapping[str, int]) -> list[ImportedAnnotation]:
    """Return the labels that are not there yet; raise BadRow for one that says something else than what is there."""
    for index, label in enumerate(pair.annotations):
        if label.annotator in there and there[label.annotator] != number_of(label):
            raise BadRow(f"/annotations/{index}", f"{label.annotator!r} has another label for this comparison already.")
    return [label for label in pair.annotations if label.annotator not in there]


def in_order(labels: Iterable[ImportedAnnotation]) -> list[ImportedAnnotation]:
    """Return labels of a pair in the order in which they were given, which consensus goes by."""
    return sorted(labels, key=lambda label: label.submitted_at or _NOW)


def number_of(label: ImportedAnnotation) -> int:
    """Return a number that two labels share when they say the same."""
    return _number(label.answer_hash)


def _number(answer_hash: str) -> int:
    return hash(answer_hash) & 0x7FFFFFFFFFFFFFFF


def _key(pair: ImportedPair, label: ImportedAnnotation) -> int:
    return hash((pair.external_id, label.annotator))


def add_labels(
    rows: NewRows, labels: list[tuple[int, ImportedAnnotation]], people: People
) -> dict[int, list[tuple[int, int | None]]]:
    """Add labels as submitted assignments, in their order; return the votes of each comparison."""
    votes: dict[int, list[tuple[int, int | None]]] = defaultdict(list)
    annotations = draw_ids(Annotation, len(labels))
    assignments = draw_ids(Assignment, len(labels))
    for (comparison, label), annotation, assignment in zip(labels, annotations, assignments, strict=True):
        annotator = people[label.annotator].id
        votes[comparison].append((annotation, label.preference))
        rows.assignments.append((assignment, comparison, annotator, label.swapped))
        rows.annotations.append(
            (
                annotation,
                assignment,
                comparison,
                annotator,
                label.preference is None,
                label.preference,
                canonical_json(label.ratings[0]),
                canonical_json(label.ratings[1]),
                label.justification,
                label.active_seconds,
                label.answer_hash,
                label.swapped,
                *(canonical_json(names) if names else "[]" for names in label.problems),
                any(UNSAFE in names for names in label.problems),
                label.confidence,
                label.pasted_characters,
                label.submitted_at or rows.now,
                label.guideline_version,
            )
        )
    return votes


def add_consensus(rows: NewRows, *, item: QueueItem, votes: list[tuple[int, int | None]], protocol: Protocol) -> None:
    """Add what the labels of a new comparison add up to; its queue item, unsaved, follows."""
    item.taken = len(votes)
    item.wanted = max(item.wanted, item.taken)
    row: Consensus = settle_new(item=item, votes=votes, protocol=protocol)
    rows.consensus.append(
        (
            item.pk,
            row.status,
            row.preference,
            row.excluded_reason,
            row.spread,
            canonical_json(row.kept),
            row.annotation_count,
            row.rule,
            None if row.settled_at is None else rows.now,
        )
    )
