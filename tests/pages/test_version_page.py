"""The page of one version: figures, evidence, flips with links, benchmarks that are polled, and what axe says of it."""

import numpy as np
import pytest
from django.core.files.uploadedfile import SimpleUploadedFile

from apps.exports.services import create_snapshot
from apps.jobs.models import Job
from apps.reward_models.models import Evaluation, PromotionDecision, RewardModel
from apps.reward_models.plots import HEIGHT, margins_of, reliability_of
from apps.reward_models.promotion import promote
from apps.signals.models import Scorer
from tests.e2e.browser import axe_violations
from tests.factories import ComparisonFactory
from worker.core.scorecard import HeldOutPair, comparison, control_figures, scorecard

HOSTILE = "<script>alert(1)</script>"
BENCHMARK = {
    "overall": 0.625,
    "longer_wins": 0.5,
    "missing": ["Coding"],
    "sections": [{"name": "Math", "n": 8, "score": 0.75, "interval": [0.4, 1.0]}],
    "n": 8,
}


def measured(pairs: int = 60):
    """The result of a real evaluation of made-up rewards: the new version orders nine pairs in ten as people did."""
    held_out = [
        HeldOutPair(
            id=f"pair-{number}",
            prompt_key=f"prompt-{number // 2}",
            prompt="?",
            response_1="a" * (number % 7 + 1),
            response_2="b" * (number % 5 + 1),
            preference=(1, -2, 3)[number % 3],
            domain=HOSTILE if number % 2 else "tides",
            votes=((HOSTILE, 1), ("ann", -1)),
        )
        for number in range(pairs)
    ]
    sides = np.sign([pair.preference for pair in held_out])
    size = np.linspace(0.1, 3, pairs) * sides
    before = (np.zeros(pairs, np.float32), (size * np.where(np.arange(pairs) % 4, 1, -1)).astype(np.float32))
    after = (np.zeros(pairs, np.float32), (size * np.where(np.arange(pairs) % 10, 1, -1)).astype(np.float32))
    return {
        "card": scorecard(held_out, after),
        "controls": control_figures(
            held_out[:4], tuple(side[:4] for side in after), tuple(side[:4] for side in before)
        ),
        "comparison": comparison(held_out, before, after),
        "prompts": {"count": 30, "sha256": "e" * 64, "left_out": 0},
    }


@pytest.fixture
def version(project, manager):
    """Return a function that makes a version."""

    def make(number):
        scorer = Scorer.objects.create(project=project, name=f"Reward model {number}", kind="reward_model")
        snapshot = create_snapshot(project=project, body={"name": f"Snapshot {number}"}, created_by=None)
        made = {
            "project": project,
            "scorer": scorer,
            "snapshot": snapshot,
            "recipe": {"epochs": 5},
            "recipe_hash": "f" * 64,
        }
        return RewardModel.objects.create(version=number, folder="x", **made)

    return make


@pytest.fixture
def judged(project, version):
    """A current version, and one that was judged against it."""
    first, second = version(1), version(2)
    promote(model=first, actor=None)
    about = {"project": project, "reward_model": second, "content_hash": "d" * 64, "code_version": "1"}
    evidence = Evaluation.objects.create(benchmark="held-out", source="S", result=measured(), against=first, **about)
    Evaluation.objects.create(benchmark="judgebench", source="jb.jsonl", result=BENCHMARK, **about)
    rule = {"kind": "rule", "promoted": False, "reason": "It does not pass."}
    PromotionDecision.objects.create(project=project, reward_model=second, against=first, evidence=evidence, **rule)
    return second


def path_of(model, action=""):
    return f"/projects/tides/reward-models/{model.pk}/{action}"


def test_a_version_is_told_on_one_page(as_user, researcher, judged, project, django_assert_max_num_queries):
    pair = ComparisonFactory(project=project, external_id="pair-4")
    client = as_user(researcher)
    with django_assert_max_num_queries(18):
        html = client.get(path_of(judged)).content.decode()
    for figure in (
        "Reward model 2",
        "90.0 %",  # accuracy
        "Against version 1",
        "+15.0",  # from 75 to 90
        "Probably better",
        "It does not pass.",
        "JudgeBench",
        "62.5 %",
        "A file in the format of JudgeBench",
        "8 rows, without Coding; not to be compared with published figures",
        "Snapshot 2",
        "slightly better",
        "Temperature",
        "ffffffffffffffff",
        "&lt;script&gt;alert(1)",
    ):
        assert figure in html, figure
    assert f'href="/projects/tides/comparisons/{pair.pk}/">pair-4<' in html
    assert HOSTILE not in html
    assert "Promote<" not in html
    assert "not measured" not in html.lower()


def test_a_benchmark_goes_by_its_name_where_all_its_rows_are_there(as_user, researcher, judged):
    sections = {"Knowledge": 154, "Reasoning": 98, "Math": 56, "Coding": 42}
    whole = [{"name": name, "n": n, "score": 0.5, "interval": None} for name, n in sections.items()]
    result = {**BENCHMARK, "n": 350, "missing": [], "sections": whole}
    Evaluation.objects.filter(benchmark="judgebench").update(result=result)
    html = " ".join(as_user(researcher).get(path_of(judged)).content.decode().split())
    assert "JudgeBench (gpt)" in html
    assert "350 rows </div>" in html
    assert "not to be compared" not in html


def test_a_version_says_what_it_starts_from_and_what_was_current(as_user, researcher, judged, version):
    html = " ".join(as_user(researcher).get(path_of(judged)).content.decode().split())
    assert "<dt>Starts from</dt> <dd> scratch </dd>" in html
    assert "<dt>Current when it was made</dt> <dd> no version </dd>" in html
    first, third = judged.decisions.get().against, version(3)
    link = '<a href="/projects/tides/reward-models/{}/">version {}</a>'
    assert f"<dt>Compared with</dt> <dd> {link.format(first.pk, 1)} </dd>" in html
    third.parent, third.current_when_made = judged, first
    third.save()
    html = " ".join(as_user(researcher).get(path_of(third)).content.decode().split())
    assert f"<dt>Starts from</dt> <dd> the weights of {link.format(judged.pk, 2)} </dd>" in html
    assert f"<dt>Current when it was made</dt> <dd> {link.format(first.pk, 1)} </dd>" in html
    assert "Compared with</dt>" not in html


def test_figures_of_few_prompts_carry_a_warning(as_user, researcher, judged):
    client = as_user(researcher)
    assert "too few" not in client.get(path_of(judged)).content.decode().lower()
    searched = {"search": "7", "trials": 9, "prompts": 4, "same_recipe": False}
    Evaluation.objects.filter(benchmark="held-out").update(result=measured(18) | {"chosen_on": searched})
    html = client.get(path_of(judged)).content.decode()
    assert "9 prompts are too few: the intervals say little." in html
    assert "A search compared 9 recipes" in html
    assert "Too few prompts: interval and probability say little." in html


def test_a_version_without_any_figure_says_so(as_user, researcher, version):
    html = as_user(researcher).get(path_of(version(1))).content.decode()
    assert "Not measured yet, or there are no held-out pairs." in html
    assert "Measured on none yet." in html


@pytest.mark.parametrize("action", ["", "card/"])
def test_others_do_not_see_it(as_user, annotator, stranger, judged, client, action):
    assert client.get(path_of(judged, action)).status_code == 302
    assert as_user(annotator).get(path_of(judged, action)).status_code == 403
    assert as_user(stranger).get(path_of(judged, action)).status_code == 404
    assert as_user(annotator).get("/projects/tides/reward-models/99999/").status_code == 403


def test_one_click_goes_back_to_the_version_before(as_user, manager, researcher, judged):
    client = as_user(manager)
    assert "Roll back" not in client.get(path_of(judged)).content.decode()
    client.post(path_of(judged, "promote/"))
    assert "Roll back to version 1" in client.get(path_of(judged)).content.decode()
    assert as_user(researcher).post(path_of(judged, "roll-back/")).status_code == 403
    html = client.post(path_of(judged, "roll-back/"), follow=True).content.decode()
    assert "Version 2 was taken back." in html
    assert RewardModel.objects.get(state="current").version == 1
    html = client.post(path_of(judged, "roll-back/"), follow=True).content.decode()
    assert "This is not the current version." in html


def test_evidence_against_a_version_that_is_no_longer_current_is_called_old(as_user, manager, judged, version):
    client = as_user(manager)
    assert "The current version is" not in client.get(path_of(judged)).content.decode()
    promote(model=version(3), actor=manager)
    assert "The current version is 3 now." in client.get(path_of(judged)).content.decode()


def test_a_measurement_starts_and_is_polled_until_it_ends(as_user, researcher, judged):
    client = as_user(researcher)
    file = SimpleUploadedFile("jb.jsonl", b"{}")
    reply = client.post(path_of(judged, "evaluate/"), {"benchmark": "judgebench", "file": file})
    assert (reply.status_code, reply.url) == (302, path_of(judged))
    assert Job.objects.get(kind="evaluation").inputs["source"]["name"] == "jb.jsonl"
    assert 'hx-trigger="every 2s"' in client.get(path_of(judged)).content.decode()
    part = client.get(path_of(judged), headers={"HX-Request": "true"})
    assert part.status_code == 200
    assert "<html" not in part.content.decode()
    Job.objects.update(state="succeeded")
    assert client.get(path_of(judged), headers={"HX-Request": "true"}).status_code == 286
    assert "hx-trigger" not in client.get(path_of(judged)).content.decode()


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"benchmark": "mt-bench"}, "Select a valid choice"),
        ({"benchmark": "rm-bench", "dataset": "json"}, "Enter a valid value"),
        ({"benchmark": "held-out", "dataset": "a/b"}, "own snapshot"),
    ],
)
def test_a_wrong_measurement_is_refused_on_the_page(as_user, researcher, judged, fields, words):
    reply = as_user(researcher).post(path_of(judged, "evaluate/"), fields)
    assert reply.status_code == 422
    assert words in reply.content.decode()


def test_plots_put_points_where_they_belong():
    bins = [{"n": 5, "confidence": 0.5, "accuracy": 0.5}, {"n": 5, "confidence": 1.0, "accuracy": 0.75}]
    plot = reliability_of({"bins": bins})
    # x from 50 % at 40 to 100 % at 310; y from 50 % at 194 to 100 % at 10
    assert plot.dots == ((40.0, 194.0), (310.0, 102.0))
    assert plot.diagonal == (40.0, 194.0, 310.0, 10.0)
    below = reliability_of({"bins": [*bins, {"n": 5, "confidence": 0.6, "accuracy": 0.0}]})
    assert below.diagonal[1] == 102.0  # half of the way up from 0 to 100 %
    assert reliability_of(None) is None
    bars = margins_of({"edges": [0, 1, 2], "agree": [3, 0], "disagree": [1, 0]}).bars
    assert (bars[0].agree_height, bars[0].disagree_height) == (138.0, 46.0)
    assert (bars[0].disagree_y, bars[1].agree_y, bars[1].agree_height) == (10.0, HEIGHT - 26, 0.0)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (390, "dark")])
def test_axe_finds_nothing_and_the_page_is_not_wider_than_the_screen(open_page, manager, judged, width, scheme):
    page = open_page(manager, path_of(judged), viewport={"width": width, "height": 800}, color_scheme=scheme)
    assert axe_violations(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    assert page.console == []
