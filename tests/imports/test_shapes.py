"""Rows of other datasets come in as they are: by their columns, by a format's name, or by a mapping."""

import pytest

from apps.core.errors import InvalidInput
from apps.imports.options import Options
from apps.imports.rows import spelled_messages, text_hash
from apps.labeling.models import Annotation
from apps.prompts.models import Comparison, canonical_json, json_hash
from tests.hostile_texts import PAYLOADS
from tests.imports.rows import SHARED, labels, load, load_file, sides

pytestmark = pytest.mark.django_db
HELPSTEER2 = {
    "split": "train",
    "prompt": "Name two primes.\n<extra_id_1>Assistant\n2 and 4\n<extra_id_1>User\nAgain.",
    "response_1": "2 and 4",
    "response_2": "2 and 3",
    "preference_strength": 3,
    "preference_statement": "x",
    "preference_elaboration": "y",
    "three_most_similar_preferences": [{"statement": "x", "elaboration": "y", "strength": 3}],
    "all_preferences_unprocessed": [
        {"strength": 3, "justification": "@Response 2 is right."},
        {"strength": -100, "justification": "Neither."},
        {"strength": 0, "justification": "Equal."},
    ],
}
HELPSTEER3 = {
    "domain": "code",
    "language": "python",
    "context": [{"role": "user", "content": "Sort a list."}],
    "response1": "sorted(x)",
    "response2": "x.sort()",
    "overall_preference": -1,
    "individual_preference": [
        {"score": -1, "reasoning": "Returns it.", "feedback1": "", "feedback2": ""},
        {"score": 2, "reasoning": "Shorter."},
    ],
}


def rating(response, **values):
    ratings = {"helpfulness": 3, "correctness": 3, "coherence": 4, "complexity": 1, "verbosity": 1}
    return {"prompt": "Why two tides?", "response": response, **ratings, **values}


def test_helpsteer2_preference_rows_keep_every_vote_and_split_the_turns(project):
    assert load(project, HELPSTEER2).created == 1
    made = Comparison.objects.get()
    assert [message["role"] for message in made.prompt.messages] == ["user", "assistant", "user"]
    assert made.prompt.messages[2]["content"] == "Again."
    assert made.metadata == {"split": "train", "preference_strength": 3}
    assert labels() == [("position 1", 3), ("position 2", "neither"), ("position 3", 0)]
    assert Annotation.objects.order_by("id").first().justification == "@Response 2 is right."


def test_helpsteer3_rows_keep_domain_language_and_votes(project):
    assert load(project, HELPSTEER3).created == 1
    assert Comparison.objects.get().metadata == {"domain": "code", "language": "python", "overall_preference": -1}
    assert labels() == [("position 1", -1), ("position 2", 2)]


def test_two_rating_rows_are_a_pair_and_the_more_helpful_one_is_preferred(project):
    assert load(project, rating("moon", helpfulness=1), rating("sun", helpfulness=4)).created == 1
    annotation = Annotation.objects.get()
    assert (annotation.preference, annotation.ratings_1["helpfulness"], annotation.ratings_2["helpfulness"]) == (
        3,
        1,
        4,
    )
    assert Comparison.objects.get().metadata["preference_from"] == "helpfulness"


def test_lists_of_ratings_are_one_label_for_each_annotator(project):
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    first, second = (dict.fromkeys(names, values) for values in ([3, 2, 4], [3, 4]))
    load(project, rating("moon", **first), rating("sun", **second))
    assert labels() == [("position 1", 0), ("position 2", 2)]


def test_what_votes_say_of_each_response_is_kept(project):
    said = [("Fine.", "Too long."), ("", None), (None, "Wrong.")]
    votes = [{"score": -1, "reasoning": "", "feedback1": one, "feedback2": two} for one, two in said]
    wrong = {**HELPSTEER3, "individual_preference": [votes[0], {**votes[1], "feedback2": 5}]}
    report = load(project, {**HELPSTEER3, "individual_preference": votes}, wrong)
    assert [error["field"] for error in report.errors] == ["/individual_preference/1/feedback2"]
    metadata = Comparison.objects.get().metadata
    assert metadata["feedback1"] == ["Fine.", "", None]
    assert metadata["feedback2"] == ["Too long.", None, "Wrong."]


def test_a_rating_without_a_partner_is_kept_and_is_no_label(project):
    """A few responses of HelpSteer2's disagreements have one rating less, where an annotator could not rate it."""
    names = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")
    first, second = (dict.fromkeys(names, values) for values in ([4, 3, 0], [4, 3]))
    assert load(project, rating("moon", **first), rating("sun", **second)).created == 1
    assert labels() == [("position 1", 0), ("position 2", 0)]
    assert Comparison.objects.get().metadata["unpaired_ratings"] == [[dict.fromkeys(names, 0)], []]


def test_a_rating_row_without_a_partner_is_named_and_the_next_pair_goes_in(project):
    alone = {**rating("alone"), "prompt": "Another?"}
    report = load(project, rating("moon"), rating("sun"), alone, rating("north"), rating("south"), alone)
    assert (report.created, report.rejected) == (2, 2)
    assert [(error["line"], error["field"]) for error in report.errors] == [(3, "/prompt"), (6, "/prompt")]


@pytest.mark.parametrize(
    ("source", "messages", "texts"),
    [
        ({"prompt": "The sky is", "chosen": " blue.", "rejected": " green."}, ["The sky is"], (" blue.", " green.")),
        ({"chosen": "The sky is blue.", "rejected": "The sky is green."}, ["The sky is"], ("blue.", "green.")),
        (
            {
                "prompt": [{"role": "user", "content": "Sky?"}],
                "chosen": [{"role": "assistant", "content": "Blue."}],
                "rejected": [{"role": "assistant", "content": "Green."}],
            },
            ["Sky?"],
            ("Blue.", "Green."),
        ),
        (
            {
                "chosen": [{"role": "user", "content": "Sky?"}, {"role": "assistant", "content": "Blue."}],
                "rejected": [{"role": "user", "content": "Sky?"}, {"role": "assistant", "content": "Green."}],
            },
            ["Sky?"],
            ("Blue.", "Green."),
        ),
        (
            {
                "chosen": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Sky?\n\nAssistant: Blue.",
                "rejected": "\n\nHuman: Hi\n\nAssistant: Hello\n\nHuman: Sky?\n\nAssistant: Green.",
            },
            ["Hi", "Hello", "Sky?"],
            ("Blue.", "Green."),
        ),
        (
            {
                "chosen": "Human: Say Human: twice.\n\nAssistant: Blue.",
                "rejected": "Human: Say Human: twice.\n\nAssistant: Red.",
            },
            ["Say Human: twice."],
            ("Blue.", "Red."),
        ),
        (
            {"chosen": "Sky?\n\nThe answer is blue.", "rejected": "Sky?\n\nThe answer is green."},
            ["Sky?"],
            ("The answer is blue.", "The answer is green."),
        ),
        (
            {
                "chosen": "### Instruction:\nSky?\n\n### Response:\nIt is easy.\n\nIt is blue.",
                "rejected": "### Instruction:\nSky?\n\n### Response:\nIt is easy.\n\nIt is green.",
            },
            ["### Instruction:\nSky?\n\n### Response:"],
            ("It is easy.\n\nIt is blue.", "It is easy.\n\nIt is green."),
        ),
        (
            {
                "chosen": "<|im_start|>user\nSky?<|im_end|>\n<|im_start|>assistant\nIt is blue.",
                "rejected": "<|im_start|>user\nSky?<|im_end|>\n<|im_start|>assistant\nIt is green.",
            },
            ["<|im_start|>user\nSky?<|im_end|>\n<|im_start|>assistant"],
            ("It is blue.", "It is green."),
        ),
        (
            {
                "chosen": "User: Sky?\n\nIt is blue.",
                "rejected": "User: Sky?\n\nIt is green.",
                "source": "web",
                "score": "2.5",
            },
            ["User: Sky?"],
            ("It is blue.", "It is green."),
        ),
        (
            {
                "prompt": "Sky?",
                "chosen": [{"role": "user", "content": "Sky?"}, {"role": "assistant", "content": "Blue."}],
                "rejected": [{"role": "user", "content": "Sky?"}, {"role": "assistant", "content": "Green."}],
                "messages": [{"role": "user", "content": "Sky?"}, {"role": "assistant", "content": "Blue."}],
                "score_chosen": 8.0,
            },
            ["Sky?"],
            ("Blue.", "Green."),
        ),
        (
            {
                "prompt": "Sky?",
                "chosen": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Sky?"},
                    {"role": "assistant", "content": "Blue."},
                ],
                "rejected": [
                    {"role": "system", "content": "Be brief."},
                    {"role": "user", "content": "Sky?"},
                    {"role": "assistant", "content": "Green."},
                ],
            },
            ["Be brief.", "Sky?"],
            ("Blue.", "Green."),
        ),
        (
            {
                "prompt": [{"role": "user", "content": "Sky?"}],
                "chosen": [{"role": "user", "content": "Sky?"}, {"role": "assistant", "content": "Blue."}],
                "rejected": [{"role": "user", "content": "Sky?"}, {"role": "assistant", "content": "Green."}],
            },
            ["Sky?"],
            ("Blue.", "Green."),
        ),
    ],
)
def test_trl_rows_of_every_kind(project, source, messages, texts):
    report = load(project, source)
    assert (report.created, report.errors) == (1, [])
    assert [message["content"] for message in Comparison.objects.get().prompt.messages] == messages
    assert sides() == texts
    assert labels() == [("dataset", -1)]


@pytest.mark.parametrize(
    "others",
    [
        {"system": "", "question": "What is six times seven?"},
        {"instruction": "Multiply.", "input": None},
        {"context": [{"role": "user", "content": "Six times seven?"}]},
    ],
)
def test_no_prompt_is_made_of_what_two_answers_begin_with_where_another_column_may_be_it(project, others):
    row = {"chosen": "The answer is 42.", "rejected": "The answer is 43.", **others}
    report = load(project, row)
    name = next(name for name, value in others.items() if value)
    said = f"There is no `prompt`, but text in `{name}`: give a mapping that says what is what."
    assert report.errors == [{"line": 1, "field": "/chosen", "reason": said}]
    mapping = {"prompt": "question", "response_1": "chosen", "response_2": "rejected"}
    if name == "question":
        assert load(project, row, options=Options(mapping=mapping)).created == 1
        assert sides() == ("The answer is 42.", "The answer is 43.")


def test_answers_to_different_prompts_are_refused(project):
    prompt = [{"role": "user", "content": "Sky?"}]
    other = [{"role": "user", "content": "Sea?"}]
    halves = [
        {"chosen": f"\n\nHuman: Why {one}", "rejected": f"\n\nHuman: Why {two}"}
        for one, two in (("a?\n\nAssistant: x", "b?\n\nAssistant: y"), ("a?", "b?"))
    ]
    answer = [{"role": "assistant", "content": "Blue."}]
    differing = {"prompt": "Sea?", "chosen": prompt + answer, "rejected": [*prompt, {**answer[0], "content": "Red."}]}
    report = load(
        project,
        differing,
        {"chosen": prompt + answer, "rejected": other + answer},
        {"chosen": "a", "rejected": "b"},
        *halves,
    )
    assert [error["field"] for error in report.errors] == ["/chosen"] * 5


def test_a_margin_says_how_much_better_the_chosen_one_is(project):
    load(project, {"prompt": "a", "chosen": "b", "rejected": "c", "margin": 2.0})
    assert labels() == [("dataset", -2)]


def test_rewardbench_rows_keep_models_and_subset(project):
    source = {"prompt": "a", "chosen": "b", "rejected": "c", "chosen_model": "m", "rejected_model": "n"}
    load(project, {**source, "subset": "alpacaeval-easy", "id": 7})
    made = Comparison.objects.get()
    assert (made.external_id, made.model_1, made.model_2) == ("alpacaeval-easy-7", "m", "n")
    assert made.metadata == {"subset": "alpacaeval-easy"}


def test_several_chosen_and_rejected_responses_give_every_pair(project):
    source = {"id": "r1", "prompt": "a", "chosen": ["b", "B"], "rejected": ["c", "d", "e"], "subset": "Ties"}
    assert load(project, source).created == 6
    assert Comparison.objects.filter(external_id="Ties-r1#1-2").exists()


def test_what_is_wrong_is_said_in_the_words_of_the_source(project):
    bad = [
        {**HELPSTEER2, "response_2": 5},
        {**HELPSTEER2, "all_preferences_unprocessed": [{"strength": 9}]},
        {**HELPSTEER2, "prompt": "bare\n<extra_id_1>Assistant\nno user turn"},
    ]
    report = load(project, *bad)
    pointers = ["/response_2", "/all_preferences_unprocessed/0/strength", "/prompt/1/role"]
    assert [error["field"] for error in report.errors] == pointers


def test_unknown_columns_are_named_at_once(project):
    with pytest.raises(InvalidInput, match=r"Seen: answer, question\. Known shapes: native, helpsteer2-preference"):
        load(project, {"question": "a", "answer": "b"})
    assert not Comparison.objects.exists()


def test_whole_numbers_may_be_written_with_a_point(project):
    votes = [{"strength": -100.0, "justification": ""}]
    assert load(project, {**HELPSTEER2, "preference_strength": 1.0, "all_preferences_unprocessed": votes}).errors == []
    assert load(project, rating("moon", helpfulness=4.0), rating("sun", helpfulness=[2.0])).errors == []
    assert labels() == [("position 1", "neither"), ("position 1", -2)]
    report = load(project, rating("moon", helpfulness=3.5), rating("mars"))
    assert report.errors[0]["field"] == "/helpfulness"


TURN = {"role": "user", "content": "Sky?", "name": "ada"}
ANSWERS = {
    "chosen": [{"role": "assistant", "content": "Blue."}],
    "rejected": [{"role": "assistant", "content": "Red."}],
}
MAPPING = {"messages": "talk", "response_1": "/answers/0/t", "response_2": "b", "metadata": ["topic"]}
MAPPED = {
    "talk": [TURN],
    "answers": [{"t": "Blue.", "score": 1}],
    "b": "Red.",
    "topic": "sea",
    "source": "web",
    "n": None,
}


@pytest.mark.parametrize(
    ("rows", "options", "ignored"),
    [
        ([{"prompt": [TURN], **ANSWERS, "score_chosen": 8.0, "margin": 1}], {}, ["prompt[].name", "score_chosen"]),
        ([{"prompt": "Sky?", "chosen": "b", "rejected": "c", "subset": "x", "id": 1, "models": ["m"]}], {}, ["models"]),
        ([{**HELPSTEER2, "comment": "x"}], {}, ["comment"]),
        ([{**HELPSTEER3, "context": [TURN], "id": "x"}], {}, ["context[].name", "id"]),
        ([rating("moon"), {**rating("sun"), "model": "m"}], {}, ["model"]),
        ([MAPPED], {"mapping": MAPPING}, ["source", "talk[].name"]),
    ],
)
def test_columns_of_other_shapes_that_nothing_is_made_of_are_counted(project, rows, options, ignored):
    report = load(project, *rows, options=Options(**options))
    assert (report.created, report.to_dict()["ignored_fields"]) == (1, dict.fromkeys(ignored, 1))


@pytest.mark.parametrize("rows", [[HELPSTEER2], [HELPSTEER3], [rating("moon"), rating("sun")]])
def test_nothing_of_a_released_file_is_called_ignored(project, rows):
    assert "ignored_fields" not in load(project, *rows).to_dict()


@pytest.mark.parametrize("text", [*PAYLOADS, 'quote " and \\ and / and \u2028\x7f\x1f\b\f', "é\U0001f30a"])
def test_the_quick_hash_is_the_one_everything_is_stored_under(text):
    assert text_hash(text) == json_hash(text)
    messages = [{"role": "system", "content": text}, {"role": "user", "content": text}]
    assert spelled_messages(messages).decode() == canonical_json(messages)


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
def test_the_raw_rows_of_helpsteer2_come_in_with_their_votes(project):
    report = load_file(project, SHARED / "helpsteer2_raw_sample.jsonl")
    assert (report.created, report.rejected) == (7, 0)
    assert Annotation.objects.count() == 21


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data is not here")
def test_real_preference_data_comes_in(project):
    assert load_file(project, SHARED / "llmbar.jsonl").created == 419
