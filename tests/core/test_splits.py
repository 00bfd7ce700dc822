"""Prompts stay in their split as data grows, and shares come out as asked."""

from worker.core.splits import split_of

SHARES = {"train": 0.8, "validation": 0.2}


def test_a_prompt_stays_in_its_split_whatever_the_order_of_the_names():
    for number in range(200):
        key = f"prompt-{number}"
        assert split_of(key, SHARES, 0) == split_of(key, {"validation": 0.2, "train": 0.8}, 0)


def test_shares_are_met_and_another_seed_gives_another_split():
    keys = [f"prompt-{number}" for number in range(5000)]
    held_out = {key for key in keys if split_of(key, SHARES, 0) == "validation"}
    assert 900 < len(held_out) < 1100  # 1000 expected, standard deviation 28
    assert held_out != {key for key in keys if split_of(key, SHARES, 1) == "validation"}


def test_shares_that_add_up_a_hair_below_one_still_place_every_prompt():
    assert split_of("x", {"train": 0.0}, 3) == "train"
