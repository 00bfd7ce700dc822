"""Each format's rows, as the tool that reads them names the fields."""

import pytest

from apps.exports.encodings import arrow_schema
from apps.exports.formats import FORMATS
from apps.exports.shapes import LeftOut
from tests.exports.rows import annotation, frozen

TURNS = [
    {"role": "user", "content": "Hi"},
    {"role": "assistant", "content": "Hello"},
    {"role": "user", "content": "Name two primes."},
]


def convert(name, row):
    return FORMATS[name].convert(row)


def turn(text):
    return [{"role": "assistant", "content": text}]


@pytest.mark.parametrize("name", list(FORMATS))
def test_rows_have_exactly_the_columns_that_the_schema_names(name):
    rows = convert(name, frozen())
    assert rows
    for row in rows:
        assert list(row) == list(FORMATS[name].columns)
    assert arrow_schema(FORMATS[name].columns).names == list(FORMATS[name].columns)


def test_trl_with_an_explicit_prompt():
    row = frozen(messages=TURNS)
    (text,) = convert("trl-preference", row)
    assert text == {
        "prompt": "User: Hi\n\nAssistant: Hello\n\nUser: Name two primes.",
        "chosen": "2 and 3",
        "rejected": "2 and 4",
        "margin": 2.0,
    }
    assert convert("trl-preference-conversational", row) == [
        {"prompt": TURNS, "chosen": turn("2 and 3"), "rejected": turn("2 and 4"), "margin": 2.0}
    ]


def test_trl_with_an_implicit_prompt_begins_both_sides_with_it():
    row = frozen(messages=TURNS)
    (conversation,) = convert("trl-preference-implicit-conversational", row)
    assert conversation == {"chosen": TURNS + turn("2 and 3"), "rejected": TURNS + turn("2 and 4"), "margin": 2.0}
    (text,) = convert("trl-preference-implicit", frozen())
    assert text == {"chosen": "Name two primes.\n\n2 and 3", "rejected": "Name two primes.\n\n2 and 4", "margin": 2.0}


def test_trl_unpaired_says_of_each_response_whether_it_is_the_better_one():
    assert convert("trl-unpaired", frozen()) == [
        {"prompt": "Name two primes.", "completion": "2 and 3", "label": True},
        {"prompt": "Name two primes.", "completion": "2 and 4", "label": False},
    ]
    good, bad = convert("trl-unpaired-conversational", frozen())
    assert (good["completion"], good["label"], bad["label"]) == (turn("2 and 3"), True, False)


def test_nemo_rl_ranks_the_better_one_lower():
    (row,) = convert("nemo-rl", frozen())
    assert row["completions"] == [
        {"rank": 0, "completion": turn("2 and 3")},
        {"rank": 1, "completion": turn("2 and 4")},
    ]


def test_rewardbench_names_the_models_of_both_sides():
    (row,) = convert("rewardbench", frozen(metadata={"domain": "math"}))
    assert (row["subset"], row["id"]) == ("math", "q-1")
    assert (row["chosen"], row["chosen_model"], row["rejected_model"]) == ("2 and 3", "model-b", "model-a")


def test_mpo_has_images_and_log_probabilities_where_they_are_known():
    (bare,) = convert("mpo", frozen())
    assert (bare["images"], bare["ref_chosen_logps"], bare["ref_rejected_logps"]) == ([], None, None)
    known = {"images": ["https://example.org/a.png"], "reference_logps": [-12.5, -3]}
    (full,) = convert("mpo", frozen(metadata=known))
    assert (full["images"], full["ref_chosen_logps"], full["ref_rejected_logps"]) == (known["images"], -3.0, -12.5)
    (odd,) = convert("mpo", frozen(metadata={"images": "x", "reference_logps": ["a", True]}))
    assert (odd["images"], odd["ref_chosen_logps"]) == ([], None)


def test_helpsteer3_has_the_scores_that_consensus_kept():
    row = frozen(metadata={"domain": "code", "language": "python"})
    row["annotations"].append(annotation(-3, kept=False))
    (exported,) = convert("helpsteer3-preference", row)
    assert (exported["domain"], exported["language"], exported["overall_preference"]) == ("code", "python", 2)
    assert [each["score"] for each in exported["individual_preference"]] == [2, 2, 2]
    assert set(exported["individual_preference"][0]) == {"score", "reasoning", "feedback1", "feedback2"}


def test_disagreements_list_every_annotator_also_those_that_consensus_did_not_keep():
    row = frozen()
    row["annotations"].append(annotation(-3, kept=False, helpfulness=(4, 0)))
    first, second = convert("helpsteer2-disagreements", row)
    assert (first["helpfulness"], second["helpfulness"]) == ([1, 1, 1, 4], [4, 4, 4, 0])
    assert first["verbosity"] == [2, 2, 2, 2]


def test_pairs_from_ratings_follow_helpfulness_and_not_the_preference():
    row = frozen(preference=-2)
    (pair,) = convert("ratings-derived-preference", row)
    assert (pair["chosen"], pair["margin"]) == ("2 and 3", 3.0)
    for each in row["annotations"]:
        each["ratings"][0]["helpfulness"] = 4
    with pytest.raises(LeftOut, match="equal helpfulness"):
        convert("ratings-derived-preference", row)


def test_the_second_split_of_helpsteer2_has_the_authors_name():
    (row,) = convert("helpsteer2-preference", frozen(split="validation"))
    assert row["split"] == "val"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"status": "neither", "preference": "neither"}, "neither valid"),
        ({"status": "pending", "preference": None}, "not settled yet"),
        ({"status": "excluded", "preference": None, "excluded_reason": "Even the 3"}, "spread too wide"),
        (
            {"status": "excluded", "preference": None, "excluded_reason": "Closed: PII"},
            "closed by a manager or by flags",
        ),
        ({"preference": 0}, "consensus is 0"),
    ],
)
def test_what_has_no_better_side_is_left_out_with_a_reason(change, reason):
    row = frozen()
    row["consensus"] |= change
    for name in ("trl-preference", "trl-unpaired", "nemo-rl", "rewardbench", "mpo", "openrlhf"):
        with pytest.raises(LeftOut, match=reason):
            convert(name, row)
    assert convert("annotations", row) == [row]
