"""`load_demo`: once, whole, and never where its public passwords could be used by others."""

from typing import Any

import pytest
from django.conf import settings
from django.core.management import CommandError, call_command

from apps.accounts.models import User
from apps.core.errors import Conflict
from apps.jobs.models import Job
from apps.labeling.models import Annotation
from apps.pages.demo import ANNOTATORS, PASSWORD, load_demo
from apps.projects.models import Membership, Project
from apps.prompts.models import Comparison
from apps.reward_models.models import RetrainPolicy

pytestmark = pytest.mark.django_db
FOLDER = settings.BASE_DIR / "demo"


def everything() -> dict[str, Any]:
    """Return how much there is of what the demo brings."""
    models = (User, Project, Membership, Comparison, Annotation, Job, RetrainPolicy)
    return {model.__name__: model.objects.count() for model in models}


def test_it_brings_people_pairs_labels_and_a_first_training() -> None:
    loaded = load_demo(folder=FOLDER)
    assert loaded.created
    assert everything() == {
        "User": 7,
        "Project": 1,
        "Membership": 7,
        "Comparison": 76,
        "Annotation": 142,
        "Job": 1,
        "RetrainPolicy": 1,
    }
    assert Job.objects.get().kind == "training"
    assert "made up" in loaded.project.notice
    assert {annotation.annotator.username for annotation in Annotation.objects.all()} <= set(ANNOTATORS)
    assert User.objects.get(username="annotator1").check_password(PASSWORD)


def test_a_second_time_nothing_changes() -> None:
    first = load_demo(folder=FOLDER)
    before = everything()
    Membership.objects.filter(user__username="annotator3").delete()
    again = load_demo(folder=FOLDER)
    assert (again.project, again.created) == (first.project, False)
    assert everything() == {**before, "Membership": 6}


def test_an_account_of_the_same_name_with_another_password_is_left_alone() -> None:
    User.objects.create_user("manager", password="somebody else's")
    with pytest.raises(Conflict, match="an account named manager"):
        load_demo(folder=FOLDER)
    assert everything()["Project"] == 0
    assert everything()["User"] == 1


def test_it_refuses_where_other_machines_are_served(settings: Any) -> None:
    settings.ALLOWED_HOSTS = ["localhost", "tiebreak.example.org"]
    with pytest.raises(CommandError, match=r"passwords are public.*tiebreak\.example\.org"):
        call_command("load_demo")
    assert everything()["User"] == 0


def test_the_command_prints_accounts_and_passwords(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("load_demo")
    printed = capsys.readouterr().out
    for name in ("manager", *ANNOTATORS, "researcher"):
        assert f"  {name} " in printed
    assert printed.count(PASSWORD) == 7
