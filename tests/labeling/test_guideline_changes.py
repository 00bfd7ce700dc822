"""What is shown of a changed guideline: the changed lines, word by word, with a little around them."""

import time

import pytest

from apps.labeling.guideline_changes import Part, changed_lines


def spelled(before: str, after: str) -> list[str]:
    """Return the lines with [-removed-] and {+added+} words."""
    marks = {"same": "{}", "removed": "[-{}-]", "added": "{{+{}+}}"}
    return [
        "".join(marks[part.change].format(part.text) for part in line) or "…" for line in changed_lines(before, after)
    ]


@pytest.mark.parametrize(
    ("before", "after", "lines"),
    [
        ("Read both.", "Read both twice.", ["Read both{+ twice+}."]),
        ("Read both twice.", "Read both.", ["Read both[- twice-]."]),
        ("Be kind.", "Be fair.", ["Be [-kind-]{+fair+}."]),
        ("One.\nTwo.", "One.\nNew.\nTwo.", ["One.", "{+New+}{+.+}", "Two."]),
        ("", "First words", ["{+First words+}"]),
        ("Same.", "Same.", []),
    ],
)
def test_words_that_came_and_went_are_marked(before, after, lines):
    assert [line.replace("+}{+", "") for line in spelled(before, after)] == [line.replace("+}{+", "") for line in lines]


def test_only_two_lines_around_a_change_are_shown():
    before = [f"Line {number}" for number in range(20)]
    after = [*before[:10], "Line ten", *before[11:]]
    lines = spelled("\n".join(before), "\n".join(after))
    assert lines == ["…", "Line 8", "Line 9", "Line [-10-]{+ten+}", "Line 11", "Line 12"]


def test_everything_of_the_new_version_is_in_what_is_not_removed():
    before, after = "a b\nc d\n\ne", "a x\ny\nc d e\n"
    lines = changed_lines(before, after)
    assert "".join(part.text for line in lines for part in line if part.change != "removed") == after.replace("\n", "")
    assert "".join(part.text for line in lines for part in line if part.change != "added") == before.replace("\n", "")


def test_a_passage_rewritten_at_length_is_shown_as_a_whole_and_soon():
    before, after = ("\n".join(f"{word} {n} of it" for n in range(3000)) for word in ("old", "new"))
    began = time.process_time()
    lines = changed_lines(before, after)
    assert time.process_time() - began < 2
    assert lines[0] == (Part("removed", "old 0 of it"),)
    assert lines[-1] == (Part("added", "new 2999 of it"),)
