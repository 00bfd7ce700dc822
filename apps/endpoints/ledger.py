"""Who asks what, what was answered and what it cost: the database's half of asking a language model.

A request is claimed before it is sent, so that two workers do not pay for the same answer, and what was answered once
is never asked again. A worker that dies leaves claims that its successor, the same holder, takes over at once.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from django.db import connection, transaction
from django.db.models import F, Sum
from django.utils import timezone

from apps.core.errors import AppError
from apps.endpoints.models import ModelCall, ModelEndpoint
from apps.endpoints.services import spent_up
from worker.core.llm.messages import Answer, CallFailed, Question


class EndpointUnusable(AppError):
    """No call to this model can succeed as things are; the sentence says why and what to do."""

    status = 409


@dataclass(frozen=True)
class Call:
    """One call that was made: the hash of its request, the question, which attempt it was, and what came of it."""

    request_hash: str
    question: Question
    attempt: int
    result: Answer | CallFailed
    seconds: float


class Ledger:
    """The claims and answers of one endpoint, as one holder (`who:turn`) sees them."""

    def __init__(self, endpoint: ModelEndpoint, *, purpose: str, holder: str, job_number: int | None) -> None:
        self.endpoint, self.purpose, self.holder, self.job_number = endpoint, purpose, holder, job_number

    def answers(self, hashes: Collection[str]) -> dict[str, Answer]:
        """Return the answers that are stored, by the hash of their request (one query)."""
        rows = self.endpoint.answers.filter(request_hash__in=hashes, answered_at__isnull=False) if hashes else []
        return {
            row.request_hash: Answer(row.text, row.reasoning, row.tokens_in, row.tokens_out, row.truncated)
            for row in rows
        }

    def hold(self, questions: Mapping[str, Question]) -> set[str]:
        """Claim requests and reserve what they may cost; return the hashes that are ours now.

        Raises EndpointUnusable when the ceiling of the costs has no room left for any.
        """
        if not questions:
            return set()
        with transaction.atomic():
            now = timezone.now()
            costs = self._affordable({key: self._most_cost(question) for key, question in questions.items()}, now)
            if not costs:
                return set()
            hashes = sorted(costs)
            values: dict[str, Any] = {
                "endpoint": self.endpoint.pk,
                "holder": self.holder,
                "now": now,
                "until": now + timedelta(seconds=self.endpoint.timeout_seconds + 60),
                "hashes": hashes,
                "costs": [costs[request_hash] for request_hash in hashes],
            }
            with connection.cursor() as cursor:
                cursor.execute(_HOLD, values)
                return {row[0] for row in cursor.fetchall()}

    def _affordable(self, costs: dict[str, Decimal], now: datetime) -> dict[str, Decimal]:
        """Return as many as the ceiling has room for, reservations of others counted; raise when nothing ever will."""
        if self.endpoint.cost_ceiling is None:
            return costs
        endpoint = ModelEndpoint.objects.select_for_update(no_key=True).get(pk=self.endpoint.pk)
        held = endpoint.answers.filter(answered_at=None, held_until__gt=now).exclude(request_hash__in=costs)
        reserved = held.aggregate(total=Sum("reserved"))["total"] or Decimal(0)
        left = (endpoint.cost_ceiling or Decimal(0)) - endpoint.spent - reserved
        affordable = {}
        for request_hash, cost in costs.items():
            if cost <= left:
                left -= cost
                affordable[request_hash] = cost
        if not affordable and not reserved:
            raise EndpointUnusable(spent_up(endpoint))
        return affordable

    def _most_cost(self, question: Question) -> Decimal:
        return self.endpoint.cost(question.most_tokens_in, question.max_tokens)

    def store(self, calls: Sequence[Call]) -> None:
        """Store answers, the log and what was spent, all together; let go of the claims that got no answer."""
        if not calls:
            return
        answers = sorted(
            ((call.request_hash, call.result) for call in calls if isinstance(call.result, Answer)),
            key=lambda pair: pair[0],
        )
        rows = [self._row(call) for call in calls]
        values: dict[str, Any] = {
            "endpoint": self.endpoint.pk,
            "now": timezone.now(),
            "hashes": [request_hash for request_hash, _answer in answers],
            "texts": [answer.text for _hash, answer in answers],
            "reasonings": [answer.reasoning for _hash, answer in answers],
            "truncated": [answer.truncated for _hash, answer in answers],
            "sent": [answer.tokens_in for _hash, answer in answers],
            "said": [answer.tokens_out for _hash, answer in answers],
        }
        with transaction.atomic():
            if total := sum(row.cost for row in rows):
                ModelEndpoint.objects.filter(pk=self.endpoint.pk).update(spent=F("spent") + total)
            ModelCall.objects.bulk_create(rows)
            with connection.cursor() as cursor:
                cursor.execute(_ANSWER, values)
            self.release({call.request_hash for call in calls if isinstance(call.result, CallFailed)})

    def _row(self, call: Call) -> ModelCall:
        row = ModelCall(
            endpoint=self.endpoint,
            purpose=self.purpose,
            job_number=self.job_number,
            request_hash=call.request_hash,
            attempt=call.attempt,
            seconds=call.seconds,
        )
        if isinstance(call.result, Answer):
            row.tokens_in, row.tokens_out = call.result.tokens_in, call.result.tokens_out
            row.cost = self.endpoint.cost(*_charged(call.question, call.result))
        else:
            row.status, row.error = call.result.status, call.result.detail[:300]
        return row

    def release(self, hashes: Collection[str]) -> None:
        """Let go of what was claimed and not answered."""
        if hashes:
            self.endpoint.answers.filter(request_hash__in=hashes, answered_at=None, holder=self.holder).delete()


def _charged(question: Question, answer: Answer) -> tuple[int, int]:
    """Return the tokens that a call is charged for; where the server does not count, the most it can have been."""
    said = len((answer.text + answer.reasoning).encode())
    return answer.tokens_in or question.most_tokens_in, answer.tokens_out or said


_HOLD = """
INSERT INTO endpoints_modelanswer AS held (created_at, endpoint_id, request_hash, holder, held_until, reserved, text,
    reasoning, truncated, tokens_in, tokens_out)
SELECT %(now)s, %(endpoint)s, asked.request_hash, %(holder)s, %(until)s, asked.cost, '', '', false, 0, 0
FROM unnest(%(hashes)s::text[], %(costs)s::numeric[]) AS asked (request_hash, cost)
ON CONFLICT (endpoint_id, request_hash) DO UPDATE
SET holder = excluded.holder, held_until = excluded.held_until, reserved = excluded.reserved
WHERE held.answered_at IS NULL
    AND (held.held_until < %(now)s OR split_part(held.holder, ':', 1) = split_part(excluded.holder, ':', 1))
RETURNING request_hash
"""
_ANSWER = """
UPDATE endpoints_modelanswer AS row
SET answered_at = %(now)s, text = came.text, reasoning = came.reasoning, truncated = came.truncated,
    tokens_in = came.sent, tokens_out = came.said, reserved = 0
FROM unnest(%(hashes)s::text[], %(texts)s::text[], %(reasonings)s::text[], %(truncated)s::bool[], %(sent)s::int[],
    %(said)s::int[]) AS came (request_hash, text, reasoning, truncated, sent, said)
WHERE row.endpoint_id = %(endpoint)s AND row.request_hash = came.request_hash AND row.answered_at IS NULL
"""
