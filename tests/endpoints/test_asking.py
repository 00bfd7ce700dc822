"""Many questions to a model: each paid for once, within all limits, and no single failure ends anything."""

import threading
import time
from decimal import Decimal

import pytest

from apps.endpoints.asking import ATTEMPTS, GIVE_UP_AFTER, Asker, Wanted
from apps.endpoints.ledger import EndpointUnusable, Ledger
from apps.endpoints.models import ModelAnswer, ModelCall
from apps.endpoints.services import openai_backend
from tests.endpoints.conftest import KEY
from tests.language_model_server import Said
from worker.core.llm.messages import Question
from worker.core.llm.reading import read_texts, texts_schema

pytestmark = pytest.mark.django_db


def wanted(number, text=None, read=lambda answer: answer.text, **options):
    return Wanted(number, Question((("user", text or f"Question {number}"),), **options), read)


def asker(endpoint, turn=1, **options):
    return Asker(endpoint, openai_backend(endpoint), purpose="test", holder=f"job-1:{turn}", job_number=1, **options)


def ask(endpoint, questions, **options):
    return {found.key: found for found in asker(endpoint, **options).ask(questions)}


def ledger_and_request(endpoint, turn):
    """Return the ledger of a worker of this turn, and question 1 by the hash under which it is asked."""
    question = wanted(1, max_tokens=endpoint.max_answer_tokens).question
    ledger = Ledger(endpoint, purpose="test", holder=f"job-1:{turn}", job_number=1)
    return ledger, {question.request_hash(backend=endpoint.identity): question}


def claim(endpoint, turn):
    ledger, request = ledger_and_request(endpoint, turn)
    return ledger.hold(request) == request.keys()


def release(endpoint, turn):
    ledger, request = ledger_and_request(endpoint, turn)
    ledger.release(request.keys())


def test_every_question_is_answered_and_asking_again_costs_nothing(server, endpoint):
    def backwards(body):
        time.sleep(0.02)
        return Said(body["messages"][0]["content"][::-1])

    server.answer = backwards
    first = ask(endpoint, (wanted(n) for n in range(30)))
    assert {key: found.value for key, found in first.items()} == {n: f"Question {n}"[::-1] for n in range(30)}
    assert len(server.got) == 30
    assert 1 < server.most_at_once <= endpoint.concurrency
    assert set(server.keys) == {f"Bearer {KEY}"}
    again = ask(endpoint, (wanted(n) for n in range(30)))
    assert [again[n].value for n in range(30)] == [first[n].value for n in range(30)]
    assert {found.calls for found in again.values()} == {0}
    assert len(server.got) == 30
    assert ModelCall.objects.filter(error="", job_number=1, tokens_in=7, tokens_out=3).count() == 30


def test_equal_questions_of_one_run_are_asked_once(server, endpoint):
    found = ask(endpoint, [wanted(n, "The same") for n in range(9)])
    assert len(found) == 9
    assert len(server.got) == 1


def test_two_workers_pay_once(server, endpoint, django_db_blocker):
    assert claim(endpoint, turn=1)
    late = threading.Timer(0.4, lambda: None)
    late.start()
    mine = Asker(endpoint, openai_backend(endpoint), purpose="test", holder="job-2:1", check=lambda: answer_when(late))

    def answer_when(timer):
        if not timer.is_alive():
            ModelAnswer.objects.filter(answered_at=None).update(answered_at="2026-01-01T00:00Z", text="the other's")

    (found,) = mine.ask([wanted(1)])
    assert (found.value, server.got) == ("the other's", [])


def test_a_successor_of_a_dead_worker_takes_its_claims_over_at_once_and_a_late_worker_lets_go_of_none(server, endpoint):
    assert claim(endpoint, turn=1)
    began = time.monotonic()
    assert claim(endpoint, turn=2)
    release(endpoint, turn=1)
    assert ModelAnswer.objects.get().holder == "job-1:2"
    assert ask(endpoint, [wanted(1)], turn=3)[1].value == "ready"
    assert time.monotonic() - began < 5


def test_failures_are_tried_again_with_pauses_and_logged(server, endpoint):
    server.script(
        Said("busy", status=503), Said(body=b"<html>"), Said("slow down", 429, {"Retry-After": "0.2"}), Said()
    )
    began = time.monotonic()
    found = ask(endpoint, [wanted(1)])[1]
    assert (found.value, found.calls) == ("ready", 4)
    assert time.monotonic() - began >= 0.2
    errors = list(ModelCall.objects.order_by("id").values_list("status", "error", "attempt"))
    assert errors == [
        (503, "The server answered 503. busy", 1),
        (None, "The server's reply is not JSON.", 2),
        (429, "The server answered 429. slow down", 3),
        (None, "", 4),
    ]


def test_a_question_that_always_fails_ends_with_a_sentence_and_the_others_go_on(server, endpoint):
    server.answer = lambda body: Said("x", 500) if "1" in body["messages"][0]["content"] else Said()
    found = ask(endpoint, [wanted(0), wanted(1), wanted(2)])
    assert (found[0].value, found[2].value, found[1].value) == ("ready", "ready", None)
    assert (found[1].error, found[1].calls) == ("The server answered 500. x", ATTEMPTS)
    assert not ModelAnswer.objects.filter(answered_at=None).exists()


@pytest.mark.parametrize(
    ("said", "sentence"),
    [
        (Said("bad key", 401), "does not accept the key"),
        (Said("no such model", 404), "knows no such address or model"),
    ],
)
def test_a_wrong_key_or_model_ends_the_run_at_once(server, endpoint, said, sentence):
    server.script(said)
    with pytest.raises(EndpointUnusable, match=sentence) as error:
        ask(endpoint, (wanted(n) for n in range(1000)))
    assert len(server.got) <= 2 * endpoint.concurrency
    assert KEY not in str(error.value)


def test_a_model_that_never_answers_is_given_up(server, endpoint, settings):
    settings.MODEL_RETRY_SECONDS = 0.0
    server.script(Said("no", 400))
    with pytest.raises(EndpointUnusable, match=f"the last {GIVE_UP_AFTER} questions got no answer"):
        ask(endpoint, (wanted(n) for n in range(1000)))


def test_what_is_no_json_has_one_round_of_repair(server, endpoint):
    def read(answer):
        return read_texts(answer, name="rules", most=5, most_chars=50)

    server.answer = lambda body: Said('["a"]') if len(body["messages"]) == 3 else Said("Sure! a")
    found = ask(endpoint, [wanted(1, read=read, schema=texts_schema("rules"))])[1]
    assert (found.value, found.calls) == (["a"], 2)
    assert server.got[0]["response_format"]["json_schema"]["strict"] is True
    server.answer = lambda body: Said("Never.")
    found = ask(endpoint, [wanted(2, read=read)])[2]
    assert (found.value, found.calls) == (None, 2)
    assert "nor could its repair: It is not JSON" in found.error


def test_what_a_server_refuses_by_name_is_left_out_from_then_on(server, endpoint):
    def picky(body):
        for name in ("response_format", "max_tokens", "temperature"):
            if name in body:
                return Said(f"Unsupported parameter: '{name}'.", 400)
        return Said('["a"]')

    server.answer = picky
    one = asker(endpoint)
    assert [found.value for found in one.ask([wanted(1, schema=texts_schema("rules"))])] == ['["a"]']
    seen = len(server.got)
    assert [found.value for found in one.ask([wanted(2, schema=texts_schema("rules"))])] == ['["a"]']
    assert len(server.got) == seen + 1
    assert set(server.got[-1]) == {"model", "messages", "max_completion_tokens"}


def test_no_call_leads_above_the_cost_ceiling(server, endpoint):
    endpoint.price_in, endpoint.price_out = Decimal(10), Decimal(1000)
    endpoint.cost_ceiling = Decimal("0.25")  # an answer of 100 tokens costs 0.1, and what is sent may cost 0.001
    endpoint.save()
    server.answer = lambda body: Said(usage={"prompt_tokens": 7, "completion_tokens": 100})
    with pytest.raises(EndpointUnusable, match="cost ceiling of Scripted is reached"):
        ask(endpoint, (wanted(n, max_tokens=100) for n in range(50)))
    endpoint.refresh_from_db()
    assert len(server.got) == 2
    assert endpoint.spent == Decimal("0.20014")


def test_a_server_that_counts_nothing_is_charged_for_the_most_it_can_have_been(server, endpoint):
    endpoint.price_in, endpoint.price_out = Decimal(1), Decimal(1)
    endpoint.save()
    server.script(Said("ready", usage=None))
    question = wanted(1)
    ask(endpoint, [question])
    endpoint.refresh_from_db()
    assert endpoint.spent * 1_000_000 == question.question.most_tokens_in + len("ready")


def test_calls_and_tokens_a_minute_are_limited_for_all_together(server, endpoint):
    endpoint.requests_per_minute = 5
    endpoint.save()
    stop_at: list[float] = []

    class Enough(Exception):
        pass

    def check():
        if len(server.got) >= 5:
            stop_at.append(time.monotonic() + 1)
        if stop_at and time.monotonic() > stop_at[0]:
            raise Enough

    with pytest.raises(Enough):
        ask(endpoint, (wanted(n) for n in range(50)), check=check)
    assert len(server.got) == 5


def test_a_private_address_is_refused_before_anything_is_sent(server, endpoint, settings):
    settings.OUTGOING_ALLOW = []
    with pytest.raises(EndpointUnusable, match=r"127\.0\.0\.1 is not a public address"):
        ask(endpoint, [wanted(1)])
    assert server.got == []


def test_the_questions_are_taken_as_they_are_asked(server, endpoint):
    taken = 0

    def many():
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield wanted(number)

    running = asker(endpoint).ask(many())
    for _ in range(20):
        next(running)
    running.close()
    assert taken <= 20 + 3 * endpoint.concurrency
