"""What a model said becomes an answer, and an answer what was wanted, or a sentence; nothing else."""

import json

import pytest

from worker.core.llm.messages import Answer, CallFailed, Question, storable, without_reasoning
from worker.core.llm.openai_backend import LONGEST_PAUSE, read_completion, retry_after
from worker.core.llm.reading import Unreadable, read_json, read_texts, repair


@pytest.mark.parametrize(
    ("said", "text", "reasoning"),
    [
        ("<think>Hm.\nYes.</think>\n\nIt is so.", "It is so.", "Hm.\nYes."),
        ("Hm.</think>It is so.", "It is so.", "Hm."),
        ("<think>Hm, and it never", "", "Hm, and it never"),
        ("It is so.", "It is so.", ""),
        ("The tag <think> opens, </think> closes.", "The tag <think> opens, </think> closes.", ""),
    ],
)
def test_reasoning_is_kept_apart_from_the_answer(said, text, reasoning):
    assert without_reasoning(said) == (text, reasoning)


def test_nothing_comes_out_that_a_database_refuses():
    assert storable("a\x00b\ud800c\U0001f30a") == "a�b�c\U0001f30a"


def completion(**message):
    return json.dumps({"choices": [{"finish_reason": "stop", "message": {"content": "Yes.", **message}}]}).encode()


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_reasoning_may_come_in_a_field_of_its_own(field):
    answer = read_completion(completion(**{field: "Because."}))
    assert (answer.text, answer.reasoning, answer.tokens_in, answer.truncated) == ("Yes.", "Because.", 0, False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"[]",
        b"null",
        b'{"choices": []}',
        b'{"choices": {}}',
        b'{"choices": [7]}',
        b'{"choices": [{"message": "x"}]}',
        completion(content=["a"]),
        completion(content=""),
        completion(content=None),
        b"[" * 100_000,
        b'"\xff"',
    ],
)
def test_a_reply_without_an_answer_is_a_failed_call_that_may_be_made_again(body):
    with pytest.raises(CallFailed) as failed:
        read_completion(body)
    assert failed.value.again
    assert failed.value.detail.endswith(".")


@pytest.mark.parametrize(
    "usage", [None, 7, [], {"prompt_tokens": -1, "completion_tokens": True}, {"prompt_tokens": "9"}]
)
def test_counts_that_are_none_are_zero(usage):
    body = json.loads(completion())
    assert read_completion(json.dumps({**body, "usage": usage}).encode()).tokens_in == 0


def test_a_pause_is_a_number_or_a_date_and_has_a_limit():
    assert retry_after("2.5") == 2.5
    assert retry_after("1e9") == LONGEST_PAUSE
    assert retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert [retry_after(odd) for odd in (None, "", "soon", "nan", "-inf")] == [None, None, None, None, None]


def rules(text, **changes):
    return read_texts(Answer(text, **changes), name="rules", most=3, most_chars=20)


def test_a_list_of_texts_is_read_bare_fenced_or_alone_in_an_object():
    assert rules('["a  b", "c"]') == ["a b", "c"]
    assert rules('```json\n["a"]\n```') == ["a"]
    assert rules('{"rules": ["a"]}') == ["a"]
    assert rules("[]") == []


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('["a"] I hope this helps!', "It is not JSON"),
        ('Here: ["a"]', "It is not JSON"),
        ("", "It was empty."),
        ('{"a": ["b"]}', "It is not a JSON array of strings."),
        ('{"rules": ["a"], "more": 1}', "It is not a JSON array of strings."),
        ('{"rules": ["a"], "rules": []}', "a name stands twice"),
        ('["a", 7]', "Item 2 is not a string"),
        ('["a", " "]', "Item 2 is not a string"),
        ('["a", ["b"]]', "Item 2 is not a string"),
        ('["a", "b", "c", "d"]', "It has 4 items; 3 are the most."),
        (f'["{"x" * 21}"]', "Item 1 has 21 characters"),
        ("[NaN]", "NaN is no JSON"),
        ("[" * 100_000, "nested too deeply"),
    ],
)
def test_everything_else_is_unreadable_with_a_reason(text, problem):
    with pytest.raises(Unreadable, match=problem.replace("[", r"\[")):
        rules(text)


def test_an_answer_that_was_cut_off_is_said_to_be():
    with pytest.raises(Unreadable, match="cut off because it is too long"):
        rules('["a", "b', truncated=True)
    with pytest.raises(Unreadable, match="cut off before the JSON began"):
        read_json(Answer("", reasoning="Hm", truncated=True))


def test_a_repair_shows_the_model_its_answer_and_what_is_wrong():
    asked = repair(Question((("user", "List."),), temperature=0.6), Answer("Sure!"), "It is not JSON.")
    assert [role for role, _text in asked.messages] == ["user", "assistant", "user"]
    assert asked.messages[1][1] == "Sure!"
    assert "It is not JSON." in asked.messages[2][1]
    assert asked.temperature == 0.6


def test_equal_questions_have_one_hash_and_whatever_matters_changes_it():
    question = Question((("user", "?"),))
    same = Question((("user", "?"),)).request_hash(backend="m")
    others = [
        Question((("user", "!"),)).request_hash(backend="m"),
        Question((("user", "?"),), temperature=0.1).request_hash(backend="m"),
        Question((("user", "?"),), repetition=1).request_hash(backend="m"),
        Question((("user", "?"),), schema={"type": "array"}).request_hash(backend="m"),
        question.request_hash(backend="n"),
    ]
    assert question.request_hash(backend="m") == same
    assert len({same, *others}) == 6
