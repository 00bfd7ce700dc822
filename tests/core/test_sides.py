"""Sides are a fair, stable coin, and mentions are exchanged with them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.core.sides import is_swapped, swap_mentions


def test_the_side_is_the_same_at_every_call_and_fair_over_many():
    swapped = sum(is_swapped("project-1", comparison, 7) for comparison in range(2000))
    assert swapped == sum(is_swapped("project-1", comparison, 7) for comparison in range(2000))
    assert 900 < swapped < 1100  # 1000 expected, standard deviation 22


@pytest.mark.parametrize(
    ("typed", "swapped"),
    [
        ("@Response 1 is better than response 2", "@Response 2 is better than response 1"),
        ("Response 12 and Response 1's tone", "Response 12 and Response 2's tone"),
        ("Responses 1 and 2 agree; Response 1/2 too", "Responses 2 and 1 agree; Response 2/1 too"),
        ("RESPONSE #1, Response1 and Response\n1", "RESPONSE #2, Response2 and Response\n2"),
        ("It lists 1 and 2. My response is 1 line.", "It lists 1 and 2. My response is 1 line."),
    ],
)
def test_mentions_are_exchanged_in_any_spelling(typed, swapped):
    assert swap_mentions(typed) == swapped


@given(st.text(alphabet="@Response 12\nxyz", max_size=80))
def test_swapping_twice_gives_back_what_was_typed(text):
    assert swap_mentions(swap_mentions(text)) == text
