"""The length of a response as a scorer: a baseline without labels, through the worker's own function."""

import pytest

from apps.prompts.models import Response
from apps.signals.models import Signal
from apps.signals.services import create_length_scorer, input_hash, run_scorer
from tests.factories import ComparisonFactory
from worker.core.lengths import length_of
from worker.tasks.scoring import score_responses


@pytest.mark.parametrize(("unit", "length"), [("characters", 10), ("words", 3)])
def test_length_counts_code_points_or_what_white_space_parts(unit, length):
    assert length_of("Ä \n\U0001f30a bcdef", unit) == length


@pytest.mark.django_db(transaction=True)
def test_every_response_is_measured_once_and_what_comes_later_by_the_next_run(project, researcher):
    scorer = create_length_scorer(project=project, unit="words", name="Words", created_by=researcher)
    pair = ComparisonFactory(project=project, response_1__text="Three short\nwords")

    def run():
        job = run_scorer(scorer=scorer)
        score_responses(job.pk)
        job.refresh_from_db()
        return job.state, job.result

    assert run() == ("succeeded", {"scored": 2, "signals": 2})
    signal = Signal.objects.get(response=pair.response_1)
    assert (signal.value, signal.input_hash) == (3.0, input_hash(pair.response_1))
    assert run() == ("succeeded", {"scored": 0, "signals": 2})
    ComparisonFactory(project=project)
    assert run() == ("succeeded", {"scored": 2, "signals": 4})
    assert Response.objects.count() == 4
