"""What changes a project, its guideline and its members."""

from collections.abc import Mapping
from typing import Any

from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import Conflict, FieldError, InvalidInput, NotFound
from apps.projects.models import AuditEvent, GuidelineVersion, Membership, Project
from apps.projects.protocol import parse_protocol


def record(*, project: Project, actor: User | None, verb: str, **detail: Any) -> None:
    """Add a line to the project's audit log."""
    AuditEvent.objects.create(project=project, actor=actor, verb=verb, detail=detail)


@transaction.atomic
def create_project(
    *, name: str, slug: str, created_by: User | None, guideline: str = "", protocol: object = None, notice: str = ""
) -> Project:
    """Create a project with its first guideline version and its creator as manager."""
    parse_protocol(protocol or {})
    project = Project(name=name, slug=slug, notice=notice, protocol_settings=protocol or {})
    try:
        project.full_clean()
    except ValidationError as error:
        raise invalid(error) from error
    project.save()
    GuidelineVersion.objects.create(project=project, number=1, text=guideline, created_by=created_by)
    if created_by is not None:
        Membership.objects.create(project=project, user=created_by, role=Membership.Role.MANAGER)
    record(project=project, actor=created_by, verb="created the project")
    return project


@transaction.atomic
def update_project(
    *,
    project: Project,
    actor: User,
    name: str | None = None,
    guideline: str | None = None,
    protocol: object = None,
    shows_rules: bool | None = None,
) -> Project:
    """Change what is given; a changed guideline becomes a new version, and old annotations keep theirs."""
    project = Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    if name is not None:
        project.name = name
    if protocol is not None:
        parse_protocol(protocol)
        project.protocol_settings = protocol
    if shows_rules is not None and shows_rules != project.shows_rules:
        project.shows_rules = shows_rules
        record(project=project, actor=actor, verb="showed rules" if shows_rules else "hid rules")
    try:
        project.full_clean()
    except ValidationError as error:
        raise invalid(error) from error
    project.save()
    newest = project.current_guideline()
    if guideline is not None and guideline != newest.text:
        GuidelineVersion.objects.create(project=project, number=newest.number + 1, text=guideline, created_by=actor)
        record(project=project, actor=actor, verb="published a guideline version", number=newest.number + 1)
    if name is not None or protocol is not None:
        record(project=project, actor=actor, verb="changed the project", name=name, protocol=protocol)
    return project


@transaction.atomic
def change_protocol(*, project: Project, actor: User, changes: Mapping[str, Any], name: str | None = None) -> Project:
    """Change these settings of the protocol and keep the others; None is the default. The name, too, if it is given."""
    stored = Project.objects.select_for_update(no_key=True).get(pk=project.pk).protocol_settings
    settings = {**stored, **changes}
    settings = {setting: value for setting, value in settings.items() if value is not None}
    return update_project(project=project, actor=actor, name=name, protocol=settings)


@transaction.atomic
def add_member(*, project: Project, actor: User | None, username: str, role: str) -> Membership:
    """Give an existing account a role in the project."""
    user = User.objects.filter(username=username).first()
    if user is None:
        raise InvalidInput(
            _("There is no such account."),
            [FieldError("/username", _("No account is named %(username)r.") % {"username": username})],
        )
    _check_role(role)
    try:
        with transaction.atomic():
            membership = Membership.objects.create(project=project, user=user, role=role)
    except IntegrityError as error:
        raise Conflict(_("%(username)s is a member already.") % {"username": username}) from error
    record(project=project, actor=actor, verb="added a member", username=username, role=role)
    return membership


@transaction.atomic
def change_role(*, project: Project, actor: User, username: str, role: str) -> Membership:
    """Change a member's role; a project keeps at least one manager."""
    _check_role(role)
    membership = _lock_member(project, username)
    if role != Membership.Role.MANAGER:
        _keep_a_manager(membership)
    membership.role = role
    membership.save(update_fields=["role"])
    record(project=project, actor=actor, verb="changed a role", username=username, role=role)
    return membership


@transaction.atomic
def remove_member(*, project: Project, actor: User, username: str) -> None:
    """Take a person's access away; their annotations stay."""
    membership = _lock_member(project, username)
    _keep_a_manager(membership)
    membership.delete()
    record(project=project, actor=actor, verb="removed a member", username=username)


def invalid(error: ValidationError) -> InvalidInput:
    """Translate Django's validation error into ours."""
    fields = [FieldError(f"/{name}", " ".join(texts)) for name, texts in error.message_dict.items()]
    return InvalidInput(_("Some fields are not valid."), fields)


def _check_role(role: str) -> None:
    if role not in Membership.Role.values:
        known = ", ".join(Membership.Role.values)
        raise InvalidInput(
            _("There is no such role."), [FieldError("/role", _("Use one of %(known)s.") % {"known": known})]
        )


def _lock_member(project: Project, username: str) -> Membership:
    # The project row is the lock: two managers who remove each other at once must not both succeed.
    Project.objects.select_for_update(no_key=True).get(pk=project.pk)
    membership = Membership.objects.filter(project=project, user__username=username).first()
    if membership is None:
        raise NotFound(_("%(username)s is not a member of this project.") % {"username": username})
    return membership


def _keep_a_manager(membership: Membership) -> None:
    others = Membership.objects.filter(project=membership.project, role=Membership.Role.MANAGER).exclude(
        pk=membership.pk
    )
    if membership.role == Membership.Role.MANAGER and not others.exists():
        raise Conflict(_("A project needs a manager; make somebody else manager first."))
