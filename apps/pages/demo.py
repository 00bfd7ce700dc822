"""The demo project: made-up pairs, people and labels from the folder `demo/`, so that no page is empty."""

from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.contrib.auth.models import Permission
from django.db import transaction

from apps.accounts.models import User
from apps.core.errors import Conflict
from apps.imports.services import import_stream
from apps.projects.models import Membership, Project
from apps.projects.services import add_member, create_project, record
from apps.reward_models.models import RetrainPolicy
from apps.reward_models.services import start_training

SLUG = "demo"
PASSWORD = "tiebreak-demo"  # noqa: S105  (public on purpose: `load_demo` refuses where others could use it)
MANAGER = "manager"
ANNOTATORS = tuple(f"annotator{number}" for number in range(1, 6))
RESEARCHER = "researcher"
ROLES = {
    MANAGER: Membership.Role.MANAGER,
    **dict.fromkeys(ANNOTATORS, Membership.Role.ANNOTATOR),
    RESEARCHER: Membership.Role.RESEARCHER,
}
NOTICE = (
    "This is the demo. Its pairs, people and labels were written for Tiebreak and are made up: "
    "draw no conclusions from them about people or models."
)
LOCAL_HOSTS = {"127.0.0.1", "localhost", "[::1]", "::1", "testserver"}


@dataclass(frozen=True)
class LoadedDemo:
    """The demo project, and whether this call made it."""

    project: Project
    created: bool


@transaction.atomic
def load_demo(*, folder: Path) -> LoadedDemo:
    """Make the demo's accounts, project and labels and start its first training: all of it or, once made, nothing."""
    project = Project.objects.filter(slug=SLUG).first()
    if project is not None:
        return LoadedDemo(project, created=False)
    _check_hosts()
    accounts = {name: _account(name) for name in ROLES}
    project = create_project(
        name="Tiebreak demo",
        slug=SLUG,
        created_by=accounts[MANAGER],
        guideline=(folder / "guideline.md").read_text(encoding="utf-8"),
        notice=NOTICE,
    )
    for name in (*ANNOTATORS, RESEARCHER):
        add_member(project=project, actor=accounts[MANAGER], username=name, role=ROLES[name])
    for path in sorted(folder.glob("*.jsonl")):
        _import(project, path, accounts)
    RetrainPolicy.objects.create(project=project, every_labels=10)
    record(project=project, actor=None, verb="loaded the demo")
    start_training(project=project, created_by=accounts[MANAGER])
    return LoadedDemo(project, created=True)


def _check_hosts() -> None:
    """Refuse public passwords on a server that answers to more than this machine."""
    others = sorted(set(settings.ALLOWED_HOSTS) - LOCAL_HOSTS)
    if others:
        raise Conflict(
            f"The demo's passwords are public, and this server answers to {', '.join(others)}. "
            "Load the demo where ALLOWED_HOSTS names this machine only."
        )


def _account(name: str) -> User:
    """Return the demo's account of this name; one with another password belongs to somebody else."""
    user = User.objects.filter(username=name).first()
    if user is None:
        user = User.objects.create_user(name, password=PASSWORD, is_staff=name == MANAGER)
        if name == MANAGER:  # staff with every permission sees the admin; a superuser would be manager of every project
            user.user_permissions.set(Permission.objects.all())
    elif not user.check_password(PASSWORD):
        raise Conflict(
            f"The demo needs an account named {name}, and one with another password exists. Rename that one."
        )
    return user


def _import(project: Project, path: Path, accounts: dict[str, User]) -> None:
    with path.open("rb") as stream:
        report = import_stream(project=project, stream=stream, accounts=accounts)
    if report.rejected:
        first = report.errors[0]
        raise Conflict(f"{path.name}, line {first['line']}: {first['field']}: {first['reason']}")
