"""Measured properties: what they say of known texts, and that no text makes them slow or lets them fail."""

import time

import numpy as np
import pytest

from worker.core.rules.measuring import measure
from worker.core.rules.properties import PROPERTIES, YES_NO

NAMES = list(PROPERTIES)
PROMPT = "How do I boil an egg? Please answer with two short steps."
RESPONSE = """# Boiling an egg

Great question! I think you could **maybe** use `cold` water:

1. Put the egg into water.
2. Boil it for 7 minutes.

- See https://example.org/eggs [1]
- See https://example.org/eggs [1]

| time | egg |
|------|-----|
| 7    | soft |

```python
boil(7)
```

> An egg, "well done", is 1 of 2 kinds. 🥚 Let me know if you need more! Do you?"""


def values(response: str, prompt: str = PROMPT) -> dict[str, float]:
    return dict(zip(NAMES, measure([(prompt, response)], NAMES)[0], strict=True))


def test_a_rich_response_is_measured_by_hand():
    found = values(RESPONSE)
    counted = {
        "headings": 1, "numbered_steps": 2, "list_items": 2, "bold": 1, "inline_code": 1, "code_blocks": 1, "tables": 1,
        "links": 2, "citations": 2, "quotes": 1, "emoji": 1, "exclamations": 2, "questions": 1, "block_quotes": 1,
        "offer": 1, "question_back": 1, "flattery": 1, "refusal": 0, "apology": 0, "disclaimer": 0, "json": 0,
        "same_language": 1, "complete": 1, "placeholder": 0, "formulas": 0, "html_tags": 0,
    }  # fmt: skip
    assert {name: found[name] for name in counted} == counted
    assert found["characters"] == len(RESPONSE)
    assert found["repeated_lines"] == pytest.approx(1 / 13)  # of 13 lines that are not blank, one comes twice


def test_words_are_counted_by_hand():
    found = values("No cat sat. No cat sat, I'm (sure) you may see!", "Where did the cat sit?")
    assert (found["words"], found["sentences"], found["words_per_sentence"]) == (11, 2, 5.5)
    assert found["distinct_words"] == pytest.approx(8 / 11)
    assert found["repeated_runs"] == pytest.approx(1 / 9)  # nine runs of three words, one of them twice
    assert (
        found["hedges"] == found["first_person"] == found["boosters"] == found["second_person"] == pytest.approx(1 / 11)
    )
    assert found["negations"] == pytest.approx(2 / 11)
    assert found["prompt_overlap"] == 0.0  # "where" is the only word of the prompt with more than three letters
    assert found["uppercase"] == pytest.approx(3 / 31)
    # 11 words, 2 sentences, 11 syllables: 0.39 · 5.5 + 11.8 · 1 − 15.59
    assert found["reading_grade"] == pytest.approx(-1.645)


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("json", ' {"a": [1, 2]} ', 1), ("json", "```json\n[1]\n```", 1), ("json", "{a: 1}", 0), ("json", "7", 0),
        ("refusal", "I’m sorry, but I can’t help with that.", 1), ("apology", "I’m sorry, but no.", 1),
        ("disclaimer", "As an AI, I cannot know.", 1), ("placeholder", "Dear [Your Name],", 1),
        ("answer_first", "Yes, it is.", 1), ("answer_first", "Well, yes.", 0), ("complete", "It is because", 0),
        ("same_language", "Das ist nicht die Antwort, die ich will.", 0), ("same_language", "你好，世界", 0),
        ("copied", "How do I boil an egg? Nobody knows.", 0.5), ("copied", PROMPT, 1),
    ],
)  # fmt: skip
def test_manners_are_told(name, text, expected):
    assert values(text)[name] == pytest.approx(expected)


def test_what_does_not_exist_is_no_number():
    found = values("", "")
    missing = {name for name, value in found.items() if np.isnan(value)}
    assert {"words_per_sentence", "reading_grade", "distinct_words", "same_language", "copied"} <= missing
    assert found["characters"] == found["words"] == 0
    assert not any(
        np.isnan(found[name]) for name in NAMES if PROPERTIES[name].unit == YES_NO and name != "same_language"
    )


HOSTILE = {
    "one word": "a" * 10**5, "spaces": " " * 10**5 + "x", "lines": "\n" * 10**5, "marks": "!" * 10**5 + "x",
    "ticks": "`" * 10**5, "stars": "*" * 10**5, "pipes": "|-" * 50_000, "quotes": "“" * 10**5, "tags": "<a" * 50_000,
    "brackets": "[" * 50_000 + "]" * 50_000, "number": "[" + "1" * 10**5 + "]", "NUL": "\0" * 10**5,
    "half pairs": "\ud800" * 10**5, "words": "a " * 50_000, "fences": "```\n" * 25_000, "dates": "(a, " * 25_000,
}  # fmt: skip


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_no_text_is_slow(text):
    began = time.process_time()
    measure([(text[:1000], text)], NAMES)
    assert time.process_time() - began < 2.0  # linear takes a twentieth of a second, quadratic a minute


def test_every_property_says_what_it_is():
    assert len(PROPERTIES) >= 30
    for each in PROPERTIES.values():
        for more in (True, False):
            assert each.preferred(more=more).endswith(".")
            assert each.bounded(3.0, more=more) != each.bounded(3.0, more=not more)
        assert bool(each.noun) != bool(each.yes and each.no)
