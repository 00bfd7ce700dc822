"""A conversation becomes the text of a prompt, and texts become hashes without collisions."""

import hashlib

import pytest

from worker.core.conversation import content_hash, prompt_text


def test_a_lone_user_turn_is_its_bare_content() -> None:
    assert prompt_text([{"role": "user", "content": "  Why?\n"}]) == "  Why?\n"


def test_several_turns_are_labelled_paragraphs() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi."},
        {"role": "user", "content": "Why is the sea salty?"},
    ]
    assert prompt_text(messages) == (
        "System: Be brief.\n\nUser: Hello\n\nAssistant: Hi.\n\nUser: Why is the sea salty?"
    )


@pytest.mark.parametrize(
    ("messages", "sentence"),
    [
        ([], "at least one message"),
        ([{"role": "bot", "content": "x"}], "Message 1 has the role 'bot'"),
        ([{"role": "user", "content": None}], "content of message 1 is not text"),
        ([{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}], "ends with a user turn"),
    ],
)
def test_what_is_no_prompt_is_refused(messages: list[dict[str, str]], sentence: str) -> None:
    with pytest.raises(ValueError, match=sentence):
        prompt_text(messages)


def test_the_hash_is_that_of_a_json_array() -> None:
    assert content_hash("a", "é") == hashlib.sha256(b'["a","\\u00e9"]').hexdigest()


def test_moving_a_border_between_parts_changes_the_hash() -> None:
    parts = [("ab", "c"), ("a", "bc"), ("abc",), ("abc", ""), ("", "abc"), ('a","b', "c"), ("a", 'b","c')]
    assert len({content_hash(*part) for part in parts}) == len(parts)


def test_a_lone_surrogate_has_a_hash() -> None:
    assert content_hash("\ud800") != content_hash("\udfff")
