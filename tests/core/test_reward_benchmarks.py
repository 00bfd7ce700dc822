"""Benchmarks scored by their own rules: examples by hand, and the published figures of five reward models."""

import json
import re
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from worker.core.reward_benchmarks import BENCHMARKS, BenchmarkError, Item

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"


def scored(name: str, rows: list[dict[str, Any]], scores: list[list[float]]) -> dict[str, Any]:
    benchmark = BENCHMARKS[name]
    items = benchmark.read(enumerate(rows, start=1))
    return benchmark.figures(items, [np.array(each, dtype=np.float64) for each in scores])


def sections(figures: dict[str, Any]) -> dict[str, float]:
    return {section["name"]: section["score"] for section in figures["sections"]}


# --- RewardBench ---


def plain(subset: str) -> dict[str, Any]:
    return {"prompt": "Why?", "chosen": "Because of the moon.", "rejected": "No.", "subset": subset, "id": 1}


def test_reward_bench_weighs_subsets_by_the_published_counts() -> None:
    rows = [plain("math-prm"), plain("math-prm"), plain("hep-cpp"), plain("alpacaeval-easy"), plain("llmbar-natural")]
    figures = scored("reward-bench", rows, [[1, 0], [0, 1], [1, 0], [1, 1], [2, 1]])
    # math-prm 1/2 counts 984, hep-cpp 1 counts 164; equal scores are wrong
    reasoning = (0.5 * 984 + 1.0 * 164) / (984 + 164)
    assert sections(figures) == {"Chat": 0.0, "Chat Hard": 1.0, "Reasoning": pytest.approx(reasoning)}
    assert figures["overall"] == pytest.approx((0 + 1 + reasoning) / 3)
    assert figures["missing"] == ["Safety"]
    assert figures["longer_wins"] == 1.0
    assert {row["name"]: row["score"] for row in figures["subsets"]}["math-prm"] == 0.5


def test_reward_bench_reads_conversations_and_rows_of_ones_own() -> None:
    asked = [{"role": "user", "content": "Why?"}]
    own = {
        "chosen": [*asked, {"role": "assistant", "content": "Tides."}],
        "rejected": [*asked, {"role": "assistant", "content": "No."}],
    }
    (item,) = BENCHMARKS["reward-bench"].read([(1, own)])
    assert (item.prompt, item.responses) == ("Why?", ("Tides.", "No."))
    figures = scored(
        "reward-bench", [own, {"question": "Why?", "chosen": "Tides.", "rejected": "No."}], [[1, 0], [0, 1]]
    )
    assert (sections(figures), figures["overall"]) == ({"Other": 0.5}, 0.5)
    assert figures["missing"] == ["Chat", "Chat Hard", "Safety", "Reasoning"]


# --- RewardBench 2 ---


def choice(subset: str, good: int = 1, bad: int = 3, **fields: Any) -> dict[str, Any]:
    texts = [f"Response {number}" for number in range(good + bad)]
    return {"prompt": "Why?", "chosen": texts[:good], "rejected": texts[good:], "subset": subset, "id": "7", **fields}


def test_reward_bench_2_shares_a_prompt_among_the_highest() -> None:
    rows = [choice("Math"), choice("Math"), choice("Math"), choice("Focus")]
    figures = scored("reward-bench-2", rows, [[2, 1, 1, 1], [2, 2, 2, 1], [1, 2, 0, 0], [3, 3, 0, 0]])
    assert sections(figures) == {"Math": pytest.approx((1 + 1 / 3 + 0) / 3), "Focus": 0.5}
    assert figures["overall"] == pytest.approx(((4 / 3) / 3 + 0.5) / 2)


def test_ties_of_reward_bench_2_by_hand() -> None:
    rows = [
        choice("Ties", good, 2, id=name) for name, good in (("tied:1", 3), ("ref:1", 1), ("tied:2", 2), ("ref:2", 1))
    ]
    figures = scored("reward-bench-2", rows, [[5, 4, 6, 1, 0], [6.5, 5, 1], [3, 1, 2, 0], [1, 2, 0]])
    (ties,) = figures["sections"]
    # prompt 1: gap 4 - 1 = 3 > spread 6 - 4 = 2, reference gap 1.5 < 2; prompt 2: gap -1, spread 2, reference gap -1
    assert ties["parts"]["tied_accuracy"] == ties["parts"]["reference_accuracy"] == 0.5
    assert (ties["parts"]["preferred"], ties["parts"]["preferred_hard"]) == (0.5, 0.0)
    margin = (np.tanh(1.5 / 2 - 1) + np.tanh(-1 / 2 - 1)) / 2
    assert ties["parts"]["margin"] == pytest.approx(margin)
    assert ties["score"] == pytest.approx(0.3 * 0.5 + 0.3 * 0.5 + 0.2 * 0.5 + 0.2 * 0.0 + 0.01 * margin)


def test_ties_without_any_spread() -> None:
    same = scored(
        "reward-bench-2", [choice("Ties", 2, 1, id="tied:1"), choice("Ties", 1, 1, id="ref:1")], [[1, 1, 0], [1, 0]]
    )
    assert same["overall"] == pytest.approx(1.01)  # the smaller gap over no spread: the tanh is 1
    nothing = scored(
        "reward-bench-2", [choice("Ties", 2, 1, id="tied:1"), choice("Ties", 1, 1, id="ref:1")], [[1] * 3, [1] * 2]
    )
    assert nothing["overall"] == 0.0  # 0 over 0 counts 0


@pytest.mark.parametrize(
    ("rows", "sentence"),
    [
        ([("tied:1", 2), ("ref:1", 1), ("tied:1", 2)], "Row 3: tied:1 of Ties is row 1 already."),
        ([("tied:1", 2), ("ref:1", 1), ("tied:2", 2)], "Row 3: tied:2 of Ties is scored together with ref:2, which is"),
        ([("ref:7", 1)], "Row 1: ref:7 of Ties is scored together with tied:7, which is missing."),
    ],
)
def test_ties_come_in_twos(rows: list[tuple[str, int]], sentence: str) -> None:
    with pytest.raises(BenchmarkError, match=re.escape(sentence)):
        BENCHMARKS["reward-bench-2"].read(enumerate([choice("Ties", good, id=name) for name, good in rows], start=1))


# --- RM-Bench ---


def styled(domain: str) -> dict[str, Any]:
    return {"id": "1", "prompt": "Why?", "chosen": ["a", "aa", "aaa"], "rejected": ["b", "bb", "bbb"], "domain": domain}


def test_rm_bench_has_a_matrix_of_styles() -> None:
    # A model of length alone: a fancier chosen response always wins, a plainer never, equal lengths tie and are wrong.
    rows = [styled("chat"), styled("safety-refuse"), styled("safety-response")]
    figures = scored("rm-bench", rows, [[1, 2, 3, 1, 2, 3], [4, 5, 6, 1, 2, 3], [1, 2, 3, 4, 5, 6]])
    chat, safety = figures["sections"]
    assert chat["levels"] == {"easy": 1.0, "normal": 0.0, "hard": 0.0}
    assert safety["levels"] == {"easy": 0.5, "normal": 0.5, "hard": 0.5}  # both halves together
    assert sections(figures) == {"chat": pytest.approx(1 / 3), "safety": 0.5}
    assert figures["overall"] == pytest.approx((1 / 3 + 1 / 2) / 2)
    assert figures["style_gap"] == pytest.approx(0.75 - 0.25)
    assert figures["missing"] == ["math", "code"]


# --- JudgeBench ---


def judged(source: str, label: str = "A>B") -> dict[str, Any]:
    return {
        "pair_id": "1",
        "source": source,
        "question": "?",
        "response_A": "first",
        "response_B": "second",
        "label": label,
    }


def test_judgebench_votes_in_both_orders() -> None:
    rows = [
        judged("mmlu-pro-law"),
        judged("livebench-math", "B>A"),
        judged("livecodebench"),
        judged("livebench-reasoning"),
    ]
    items = BENCHMARKS["judgebench"].read(enumerate(rows))
    assert items[1] == Item("1", "Math", "?", ("second", "first"))
    figures = scored("judgebench", rows, [[2, 1], [2, 1], [1, 1], [0, 1]])
    assert sections(figures) == {"Knowledge": 1.0, "Reasoning": 0.0, "Math": 1.0, "Coding": 0.0}
    assert (figures["overall"], figures["undecided"], figures["missing"]) == (0.5, 1, [])


# --- What a file may be called ---


def numbers_of(name: str, counts: dict[str, int]) -> dict[str, Any]:
    """Figures as far as rows go: how many, in which sections, and which are missing."""
    missing = [section for section in BENCHMARKS[name].sections if section not in counts]
    sections = [{"name": section, "n": n} for section, n in counts.items()]
    return {"n": sum(counts.values()), "sections": sections, "missing": missing}


REWARD_BENCH = {"Chat": 358, "Chat Hard": 456, "Safety": 740, "Reasoning": 1431}
GPT = {"Knowledge": 154, "Reasoning": 98, "Math": 56, "Coding": 42}
CLAUDE = {"Knowledge": 154, "Reasoning": 51, "Math": 34, "Coding": 31}
SIX = {"Factuality": 400, "Precise IF": 300, "Math": 300, "Safety": 400, "Focus": 365, "Ties": 100}  # 1,865 in all


@pytest.mark.parametrize(
    ("name", "counts", "said"),
    [
        ("reward-bench", REWARD_BENCH, "RewardBench: 2,985 rows"),
        ("reward-bench-2", SIX, "RewardBench 2: 1,865 rows"),
        ("judgebench", GPT, "JudgeBench (gpt): 350 rows"),
        ("judgebench", CLAUDE, "JudgeBench (claude): 270 rows"),
        (
            "judgebench",
            {name: GPT[name] + CLAUDE[name] for name in GPT},
            "A file in the format of JudgeBench: 620 rows",
        ),
        ("judgebench", {**GPT, "Math": 50, "Coding": 48}, "A file in the format of JudgeBench: 350 rows"),
        ("reward-bench", {**REWARD_BENCH, "Other": 1}, "A file in the format of RewardBench: 2,986 rows"),
        ("reward-bench", {**REWARD_BENCH, "Chat": 357, "Other": 1}, "A file in the format of RewardBench: 2,985 rows"),
        ("reward-bench-2", {**SIX, "Math": 299}, "A file in the format of RewardBench 2: 1,864 rows"),
        ("reward-bench-2", {"Math": 1865}, "without Factuality, Precise IF, Safety, Focus, Ties"),
        ("rm-bench", {"chat": 129, "math": 300, "code": 300, "safety": 300}, "A file in the format of RM-Bench"),
    ],
)
def test_a_benchmark_is_named_only_where_all_its_rows_are_there(name: str, counts: dict[str, int], said: str) -> None:
    told = BENCHMARKS[name].measured_on(numbers_of(name, counts))
    assert said in told
    whole = BENCHMARKS[name].published_set(numbers_of(name, counts)) is not None
    assert told.startswith("A file in the format of") is not whole


def test_the_sections_of_a_published_set_are_all_of_it() -> None:
    for benchmark in BENCHMARKS.values():
        for each in benchmark.published:
            if each.sections is not None:
                assert sum(each.sections.values()) == each.rows
                assert set(each.sections) == set(benchmark.sections)


def test_one_row_of_an_unknown_subset_is_no_reward_bench() -> None:
    figures = scored("reward-bench", [plain("nonsense")], [[1, 0]])
    said = "A file in the format of RewardBench: 1 row, without Chat, Chat Hard, Safety, Reasoning"
    assert (figures["overall"], BENCHMARKS["reward-bench"].measured_on(figures)) == (1.0, said)


# --- Files that are something else ---


@pytest.mark.parametrize(
    ("name", "row", "sentence"),
    [
        ("reward-bench", [], "Row 1: a row is a JSON object"),
        ("reward-bench", {"prompt": "?", "chosen": 1, "rejected": "x"}, "Row 1: chosen must be text, not 1"),
        ("reward-bench", {"chosen": "x", "rejected": "y"}, "Row 1: prompt must be text, not None"),
        ("reward-bench", {"prompt": "\ud800", "chosen": "x", "rejected": "y"}, "prompt has half of a surrogate pair"),
        ("reward-bench", {"chosen": [{"role": "user", "content": "x"}]}, "chosen must be a conversation"),
        (
            "reward-bench",
            {"prompt": [{"role": "x", "content": ""}], "chosen": "x", "rejected": "y"},
            "prompt: Message 1",
        ),
        ("reward-bench", plain("a\x00"), "Row 1: subset must be a name"),
        ("reward-bench", plain("a" * 101), "Row 1: subset must be a name"),
        ("reward-bench-2", choice("Maths"), "Row 1: subset must be one of Factuality, Precise IF, Math, Safety, Focus"),
        ("reward-bench-2", choice("Math", 2), "Row 1: chosen must have one text in a row of Math, not 2."),
        ("reward-bench-2", choice("Math", chosen="x"), "chosen must be a list of texts"),
        ("reward-bench-2", choice("Math", rejected=["x"] * 65), "rejected has 65 texts"),
        ("reward-bench-2", choice("Ties"), "ref:N or tied:N, not '7'"),
        ("reward-bench-2", choice("Ties", id="tied:1"), "chosen must have two texts or more"),
        ("rm-bench", styled("poetry"), "domain must begin with one of chat"),
        ("rm-bench", styled("chat") | {"chosen": ["a"]}, "chosen must have three texts"),
        ("judgebench", judged("mmlu-pro-law", "A=B"), "label must be A>B or B>A, not 'A=B'"),
        ("judgebench", judged("trivia"), "source must begin with one of mmlu-pro"),
    ],
)
def test_a_row_of_something_else_is_named(name: str, row: Any, sentence: str) -> None:
    with pytest.raises(BenchmarkError, match=re.escape(sentence)):
        BENCHMARKS[name].read([(1, row)])


def test_a_file_of_nothing_but_subsets_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="more than 100 subsets"):
        BENCHMARKS["reward-bench"].read((number, plain(f"subset {number}")) for number in range(101))


def test_a_file_without_rows_is_refused() -> None:
    for benchmark in BENCHMARKS.values():
        with pytest.raises(BenchmarkError, match="no rows"):
            benchmark.read([])


# --- Published figures, and files of the real benchmarks ---


def rows_of(name: str) -> list[dict[str, Any]]:
    path = DATA / name
    if not path.exists():
        pytest.skip(f"{path} is not on this machine")
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


PUBLISHED = {  # table of arXiv 2410.12784, GPT-4o split
    "Skywork/Skywork-Reward-Gemma-2-27B": 64.29,
    "internlm/internlm2-20b-reward": 63.43,
    "Skywork/Skywork-Reward-Llama-3.1-8B": 62.29,
    "Ray2333/GRM-Gemma-2B-rewardmodel-ft": 59.43,
    "internlm/internlm2-7b-reward": 59.43,
}


def test_the_scores_of_five_reward_models_give_the_published_figures() -> None:
    rows, scores = [], defaultdict(list)
    for row in rows_of("judgebench.jsonl"):
        if "split=gpt" not in row["source"]:
            continue
        first, second = (response["text"] for response in row["responses"])
        label = "A>B" if row["gold"] < 0 else "B>A"
        rows.append(judged(row["source"].split("domain=")[1], label) | {"response_A": first, "response_B": second})
        for annotation in row["annotations"]:
            both = [float(number) for number in re.findall(r"[AB]=(\S+)", annotation["justification"])]
            scores[annotation["annotator"].removeprefix("machine:")].append(both if label == "A>B" else both[::-1])
    found = {name: round(100 * scored("judgebench", rows, each)["overall"], 2) for name, each in scores.items()}
    assert found == PUBLISHED
    figures = scored("judgebench", rows, next(iter(scores.values())))
    assert BENCHMARKS["judgebench"].measured_on(figures) == "JudgeBench (gpt): 350 rows"


def test_longer_wins_on_the_real_files_as_the_readme_of_the_data_says() -> None:
    matrices: dict[str, dict[str, Any]] = defaultdict(lambda: {"chosen": [""] * 3, "rejected": [""] * 3})
    for row in rows_of("rmbench_chat.jsonl"):
        domain, *styles = (part.split("=")[1] for part in row["source"].split("; ")[1:4])
        entry = matrices[row["external_id"].rpartition("-")[0]]
        entry |= {"prompt": row["messages"][0]["content"], "domain": domain}
        better, worse = row["responses"] if row["gold"] < 0 else row["responses"][::-1]
        entry["chosen"][int(styles[0])], entry["rejected"][int(styles[1])] = better["text"], worse["text"]
    rows = list(matrices.values())
    figures = scored(
        "rm-bench", rows, [[float(len(text)) for text in (*row["chosen"], *row["rejected"])] for row in rows]
    )
    assert sections(figures)["chat"] == pytest.approx(figures["longer_wins"])
    assert figures["sections"][0]["n"] == 129
    assert figures["levels"]["easy"] > 0.8 > 0.2 > figures["levels"]["hard"]


def test_llmbar_is_the_hard_part_of_reward_bench() -> None:
    names = {"Natural": "natural", "Manual": "adver-manual", "Neighbor": "adver-neighbor"}
    names |= {"GPTInst": "adver-GPTInst", "GPTOut": "adver-GPTOut"}
    rows = []
    for row in rows_of("llmbar.jsonl"):
        subset = row["source"].split("subset=")[1].rpartition("/")[2]
        better, worse = row["responses"] if row["gold"] < 0 else row["responses"][::-1]
        asked = {"prompt": row["messages"][0]["content"], "subset": f"llmbar-{names[subset]}"}
        rows.append(asked | {"chosen": better["text"], "rejected": worse["text"]})
    lengths = [[float(len(row[side])) for side in ("chosen", "rejected")] for row in rows]
    figures = scored("reward-bench", rows, lengths)
    assert {subset["name"]: subset["n"] for subset in figures["subsets"]} == {
        "llmbar-natural": 100,
        "llmbar-adver-neighbor": 134,
        "llmbar-adver-GPTInst": 92,
        "llmbar-adver-GPTOut": 47,
        "llmbar-adver-manual": 46,
    }
    # The subsets are whole, so the section is the plain share: 0.270, ties of length aside.
    assert sections(figures)["Chat Hard"] == pytest.approx(0.27, abs=0.01)
