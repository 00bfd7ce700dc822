"""Set language models up, test them, and keep their keys to ourselves."""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any
from uuid import uuid4

from django.conf import settings
from django.db import IntegrityError, transaction
from django.db.models import F, QuerySet
from django.utils import timezone
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.allowances import Limit, spend
from apps.core.errors import Conflict, FieldError, Forbidden, InvalidInput, NotFound, TooMany
from apps.core.json_values import why_unstorable
from apps.core.outgoing import AddressRefused, Limits, RequestFailed, check_address, fetch
from apps.endpoints.encryption import decrypted, encrypted, encrypted_again
from apps.endpoints.models import ModelCall, ModelEndpoint
from worker.core.llm.messages import MAX_ANSWER_TOKENS, Answer, Backend, CallFailed, Question
from worker.core.llm.openai_backend import OpenAIBackend, Sent

MAX_ENDPOINTS = 50
MAX_REPLY = 8 << 20
MAX_ID_DIGITS = 18
TEST_SECONDS = 20
TEST = Question((("user", "Answer with one word: ready"),), max_tokens=512)
KEPT = timedelta(days=90)
RANGES = {
    "concurrency": (1, 64),
    "requests_per_minute": (0, 1_000_000),
    "tokens_per_minute": (0, 1_000_000_000),
    "max_answer_tokens": (1, MAX_ANSWER_TOKENS),
    "timeout_seconds": (1, 900),
    "price_in": (0, 1_000_000),
    "price_out": (0, 1_000_000),
    "cost_ceiling": (0, 10_000_000),
}
"""The least and the most of each number that can be set."""


@dataclass(frozen=True)
class Tested:
    """What a test found: the beginning of the answer, or the sentence of what is wrong."""

    ok: bool
    answer: str = ""
    error: str = ""
    seconds: float = 0.0
    tokens_in: int = 0
    tokens_out: int = 0


# --- Whose they are ---


def endpoints_of(user: User) -> QuerySet[ModelEndpoint]:
    """Return the endpoints that a person sees: their own, for superusers all, and none by a token of some projects.

    An endpoint belongs to no project, so it does not exist for such a token: its key and its money are the person's.
    """
    if user.only_projects is not None:
        return ModelEndpoint.objects.none()
    return ModelEndpoint.objects.all() if user.is_superuser else ModelEndpoint.objects.filter(owner=user)


def get_endpoint(user: User, endpoint_id: str) -> ModelEndpoint:
    """Return an endpoint that a person may see; raise NotFound for every other, whether it exists or not."""
    known = endpoint_id.isascii() and endpoint_id.isdecimal() and len(endpoint_id) <= MAX_ID_DIGITS
    found = endpoints_of(user).filter(pk=endpoint_id).first() if known else None
    if found is None:
        raise NotFound(_("There is no such model endpoint of yours."))
    return found


# --- Setting up ---


def create_endpoint(*, owner: User, name: str, model: str, api_key: str = "", **settings_: Any) -> ModelEndpoint:
    """Add a language model; raise InvalidInput for what it cannot be, Forbidden by a token of some projects."""
    if owner.only_projects is not None:
        raise Forbidden(_("This token is limited to projects; model endpoints belong to none, so it makes none."))
    endpoint = ModelEndpoint(owner=owner, name=name, model=model, **settings_)
    with transaction.atomic():
        User.objects.select_for_update(no_key=True).get(pk=owner.pk)
        if owner.model_endpoints.count() >= MAX_ENDPOINTS:
            raise Conflict(_("One person has at most %(most)s model endpoints.") % {"most": MAX_ENDPOINTS})
        _check(endpoint, api_key)
        endpoint.encrypted_key = encrypted(api_key)
        _save(endpoint)
    return endpoint


def change_endpoint(*, endpoint: ModelEndpoint, api_key: str | None = None, **changes: Any) -> ModelEndpoint:
    """Change what is given. Another address forgets the key unless it comes along: it was meant for the earlier one."""
    with transaction.atomic():
        endpoint = ModelEndpoint.objects.select_for_update().get(pk=endpoint.pk)
        earlier = (endpoint.base_url, endpoint.kind)
        for name, value in changes.items():
            setattr(endpoint, name, value)
        _check(endpoint, api_key or "")
        if api_key is not None or (endpoint.base_url, endpoint.kind) != earlier:
            endpoint.encrypted_key = encrypted(api_key or "")
        endpoint.tested_at = endpoint.test_result = None
        _save(endpoint)
    return endpoint


def delete_endpoint(*, endpoint: ModelEndpoint) -> None:
    """Delete an endpoint with its answers and its log; what was made of the answers stays where it is."""
    endpoint.delete()


def encrypt_keys_again() -> int:
    """Encrypt every key under the first of ENCRYPTION_KEYS. Return how many; raise Conflict for one nobody opens."""
    count = 0
    with transaction.atomic():
        for endpoint in ModelEndpoint.objects.select_for_update().exclude(encrypted_key=""):
            endpoint.encrypted_key = encrypted_again(endpoint.encrypted_key)
            endpoint.save(update_fields=["encrypted_key"])
            count += 1
    return count


def forget_old_calls() -> int:
    """Delete the log of what was called three months ago. Return how many entries."""
    return ModelCall.objects.filter(created_at__lt=timezone.now() - KEPT).delete()[0]


# --- Asking ---


def openai_backend(endpoint: ModelEndpoint, *, seconds: float | None = None) -> OpenAIBackend:
    """Return what asks a server; addresses go through our one client for outgoing requests."""
    limits = Limits(seconds=seconds or endpoint.timeout_seconds, size=MAX_REPLY)

    def send(method: str, url: str, headers: Mapping[str, str], body: bytes) -> Sent:
        try:
            reply = fetch(url, method=method, headers=headers, body=body, limits=limits)
        except AddressRefused as error:
            raise CallFailed(error.detail, unusable=True) from error
        except RequestFailed as error:
            raise CallFailed(error.detail, again=True) from error
        return Sent(reply.status, reply.headers, reply.body)

    key = decrypted(endpoint.encrypted_key)
    return OpenAIBackend(base_url=endpoint.base_url, model=endpoint.model, api_key=key, send=send)


def test_endpoint(*, endpoint: ModelEndpoint) -> ModelEndpoint:
    """Ask a server for one word now, or have the gpu worker ask its model; the endpoint has the result."""
    if endpoint.kind == ModelEndpoint.Kind.LOCAL:
        endpoint.test_wanted_at, endpoint.test_result = timezone.now(), None
        endpoint.save(update_fields=["test_wanted_at", "test_result"])
        return endpoint
    left = spend(f"endpoint:{endpoint.pk}", Limit("requests", endpoint.requests_per_minute, 60.0))
    if left is not None and left.refused:
        raise TooMany(_("The calls of this minute are used up; try again in a moment."), left.retry_after)
    return run_test(endpoint=endpoint, backend=openai_backend(endpoint, seconds=TEST_SECONDS))


def run_test(*, endpoint: ModelEndpoint, backend: Backend) -> ModelEndpoint:
    """Ask for one word, note the call, and store what was found."""
    if endpoint.cost_ceiling is not None and endpoint.spent >= endpoint.cost_ceiling:
        raise Conflict(spent_up(endpoint))
    began, answer, failed = time.monotonic(), Answer(""), None
    try:
        answer = backend.ask(TEST)
    except CallFailed as error:
        failed = error
    seconds = time.monotonic() - began
    found = Tested(
        ok=failed is None,
        answer=(answer.text or answer.reasoning)[:300],
        error=failed.detail if failed else "",
        seconds=round(seconds, 3),
        tokens_in=answer.tokens_in,
        tokens_out=answer.tokens_out,
    )
    cost = endpoint.cost(answer.tokens_in, answer.tokens_out)
    with transaction.atomic():
        ModelCall.objects.create(
            endpoint=endpoint,
            purpose="test",
            request_hash=uuid4().hex,
            seconds=seconds,
            status=failed.status if failed else None,
            tokens_in=answer.tokens_in,
            tokens_out=answer.tokens_out,
            cost=cost,
            error=found.error[:300],
        )
        ModelEndpoint.objects.filter(pk=endpoint.pk).update(
            spent=F("spent") + cost, tested_at=timezone.now(), test_result=vars(found), test_wanted_at=None
        )
    endpoint.refresh_from_db()
    return endpoint


def fail_test(*, endpoint: ModelEndpoint, error: str) -> None:
    """Store that a test could not even be made."""
    found = Tested(ok=False, error=error[:300])
    ModelEndpoint.objects.filter(pk=endpoint.pk).update(
        test_wanted_at=None, tested_at=timezone.now(), test_result=vars(found)
    )


def spent_up(endpoint: ModelEndpoint) -> str:
    """Say that an endpoint's cost ceiling is reached."""
    said = _("The cost ceiling of %(name)s is reached: %(spent)s of %(ceiling)s is spent. Raise it to go on.")
    spent, ceiling = Decimal(endpoint.spent).quantize(Decimal("0.0001")), endpoint.cost_ceiling
    return said % {"name": endpoint.name, "spent": spent, "ceiling": ceiling}


# --- Inside ---


def _save(endpoint: ModelEndpoint) -> None:
    try:
        with transaction.atomic():
            endpoint.save()
    except IntegrityError as error:
        detail = _("You have a model endpoint of this name already.")
        raise InvalidInput(detail, [FieldError("/name", detail)]) from error


def _check(endpoint: ModelEndpoint, api_key: str) -> None:
    errors = [*_texts(endpoint, api_key), *_where(endpoint)]
    for name, (least, most) in RANGES.items():
        value = getattr(endpoint, name)
        if value is not None and not least <= value <= most:
            said = _("Expected a number from %(least)s to %(most)s.") % {"least": least, "most": most}
            errors.append(FieldError(f"/{name}", said))
    if errors:
        raise InvalidInput(_("The model endpoint is not valid."), errors)


def _texts(endpoint: ModelEndpoint, api_key: str) -> list[FieldError]:
    errors = []
    for name, value, most in (("name", endpoint.name, 80), ("model", endpoint.model, 300)):
        if not value.strip() or len(value) > most:
            errors.append(FieldError(f"/{name}", _("Expected 1 to %(most)s characters.") % {"most": most}))
        elif problem := why_unstorable(value):
            errors.append(FieldError(f"/{name}", _("The text %(problem)s.") % {"problem": problem}))
    if len(api_key) > 1000 or not api_key.isascii() or not (api_key.isprintable() and api_key == api_key.strip()):
        errors.append(FieldError("/api_key", _("A key has at most 1000 ASCII characters and no spaces around it.")))
    return errors


def _where(endpoint: ModelEndpoint) -> list[FieldError]:
    if endpoint.kind not in ModelEndpoint.Kind.values:
        known = ", ".join(ModelEndpoint.Kind.values)
        return [FieldError("/kind", _("Use one of %(known)s.") % {"known": known})]
    if endpoint.kind == ModelEndpoint.Kind.LOCAL:
        if endpoint.base_url:
            return [FieldError("/base_url", _("A model in the gpu worker has no address."))]
        if endpoint.model not in settings.LOCAL_MODELS:
            said = _("The gpu worker may load the models that the setting LOCAL_MODELS names: %(known)s.")
            return [FieldError("/model", said % {"known": ", ".join(settings.LOCAL_MODELS) or _("none so far")})]
        return []
    try:
        check_address(endpoint.base_url)
    except AddressRefused as refused:
        return [FieldError("/base_url", refused.detail)]
    return []
