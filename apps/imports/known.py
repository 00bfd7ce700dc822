"""Look up which of a batch's rows a project has already: one query for each kind of thing."""

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from decimal import Decimal
from functools import partial
from typing import Any

import psycopg
from django.db import connection

from apps.imports.rows import ImportedPair
from apps.prompts.models import canonical_json


@dataclass(frozen=True, slots=True)
class Known:
    """A comparison that is stored already; `content` compares with that of an `ImportedPair`.

    `metadata` is a part of it as PostgreSQL spells it.
    """

    id: int
    content: tuple[Any, ...]
    metadata: str
    responses: tuple[int, int]

    def differs(self, pair: ImportedPair) -> bool:
        """Say whether a row of the same id has another content."""
        if self.content == pair.content:
            return False
        mine, theirs = ((*content[:4], *content[5:]) for content in (self.content, pair.content))
        # PostgreSQL has decimals where Python has floats: 1e23 comes back as a whole number, which is no float's equal.
        return mine != theirs or _exact(self.metadata) != _exact(canonical_json(pair.metadata))


def fetch(statement: str, values: Sequence[Any]) -> list[tuple[Any, ...]]:
    """Return the rows of a statement whose values the server binds: the ORM's cursor writes arrays into its text."""
    connection.ensure_connection()
    with psycopg.Cursor(connection.connection) as cursor:
        return cursor.execute(statement, values, binary=True).fetchall()


def known_comparisons(project_id: int, external_ids: list[str]) -> dict[str, Known]:
    """Return the comparisons with these external ids (one query, none without ids)."""
    if not external_ids:
        return {}
    rows = fetch(_KNOWN_COMPARISONS, [project_id, external_ids])
    return {row[0]: Known(row[1], (*row[2:6], json.loads(row[6]), row[7], row[8:10]), row[6], row[10:]) for row in rows}


def known_prompts(project_id: int, hashes: Collection[str]) -> dict[str, int]:
    """Return the ids of the prompts that are stored already, by their hash (one query, none without hashes)."""
    if not hashes:
        return {}
    return dict(fetch(_KNOWN_PROMPTS, [project_id, list(hashes)]))


def known_responses(wanted: Sequence[tuple[int, str]]) -> dict[tuple[int, str], int]:
    """Return the ids of responses that are stored already, by prompt and hash (one query, none without any wanted)."""
    if not wanted:
        return {}
    sides = [[prompt for prompt, _ in wanted], [text for _, text in wanted]]
    return {(prompt, text): pk for prompt, text, pk in fetch(_KNOWN_RESPONSES, sides)}


_exact = partial(json.loads, parse_int=Decimal, parse_float=Decimal)
# Arrays, where the ORM would write two thousand parameters: that takes longer than the query.
_KNOWN_COMPARISONS = """
SELECT stored.external_id, stored.id, prompt.content_hash, first.content_hash, second.content_hash, stored.reference,
    stored.metadata::text, stored.gold, stored.model_1, stored.model_2, first.id, second.id
FROM prompts_comparison AS stored
JOIN prompts_prompt AS prompt ON prompt.id = stored.prompt_id
JOIN prompts_response AS first ON first.id = stored.response_1_id
JOIN prompts_response AS second ON second.id = stored.response_2_id
WHERE stored.project_id = %s AND stored.external_id = ANY(%b::text[])
"""
_KNOWN_PROMPTS = "SELECT content_hash, id FROM prompts_prompt WHERE project_id = %s AND content_hash = ANY(%b::text[])"
_KNOWN_RESPONSES = """
SELECT prompt_id, content_hash, id FROM prompts_response
JOIN unnest(%b::bigint[], %b::text[]) AS wanted(prompt_id, content_hash) USING (prompt_id, content_hash)
"""
