"""The one door to a project: a stranger gets 404, a member with the wrong role 403."""

from typing import Any, TypeVar

from django.contrib.auth.models import AnonymousUser
from django.db.models import Model, QuerySet
from django.utils.translation import gettext as _

from apps.accounts.models import User
from apps.core.errors import Forbidden, NotFound
from apps.core.rows import Columns, fetch_row
from apps.projects.models import Membership, Project

Role = Membership.Role
ANY_ROLE = tuple(Role)
SEES_RESULTS = (Role.MANAGER, Role.RESEARCHER)
"""Who may see signals, other people's labels, datasets and models."""
OVERSEES = (Role.MANAGER, Role.REVIEWER)
"""Who sees what was flagged, leaves comparisons out and puts them back."""
LABELS = (Role.MANAGER, Role.REVIEWER, Role.ANNOTATOR)
MAX_ID_DIGITS = 18
Owned = TypeVar("Owned", bound=Model)
_MEMBERSHIP, _PROJECT = Columns(Membership, "membership"), Columns(Project, "project")
_FIND = f"""
SELECT {_MEMBERSHIP}, {_PROJECT}
FROM projects_membership AS membership JOIN projects_project AS project ON project.id = membership.project_id
-- Looked up first, so that no plan pairs all of a person's memberships with all projects.
WHERE membership.project_id = (SELECT id FROM projects_project WHERE slug = %(slug)s)
  AND membership.user_id = %(user)s
"""  # noqa: S608  (columns of our own models)


def get_membership(user: User | AnonymousUser, slug: str, *roles: Role) -> Membership:
    """Return the person's membership with its project (one query); superusers count as managers everywhere."""
    membership = None
    if user.is_authenticated:
        found = fetch_row(_FIND, {"slug": slug, "user": user.pk}, _MEMBERSHIP, _PROJECT)
        if found is not None:
            membership, membership.project = found
            membership.user = user
        if user.is_superuser and (membership is None or membership.role not in roles):
            project = Project.objects.filter(slug=slug).first()
            membership = Membership(project=project, user=user, role=Role.MANAGER) if project else None
        if membership is not None and not is_open_to(user, membership.project_id):
            membership = None
    if membership is None:
        raise NotFound(_("There is no such project, or you are not a member of it."))
    if membership.role not in roles:
        wanted = _(" or ").join(str(Membership.IN_A_SENTENCE[role]) for role in roles)
        raise Forbidden(
            _("This needs the role %(wanted)s; you are %(role)s of %(project)s.")
            % {"wanted": wanted, "role": membership.role_in_a_sentence, "project": membership.project}
        )
    return membership


def get_project(user: User | AnonymousUser, slug: str, *roles: Role) -> Project:
    """Return the project if the person has one of `roles` in it; raise NotFound or Forbidden otherwise."""
    return get_membership(user, slug, *roles).project


def get_owned(user: User | AnonymousUser, rows: QuerySet[Owned], object_id: str, *roles: Role) -> Owned:
    """Return the row with this id if the person has one of `roles` in its project (two queries).

    A row of a project that the person is not in is told apart from a missing one by nobody.
    """
    missing = NotFound(f"There is no such {rows.model._meta.verbose_name}, or you are not a member of its project.")
    row: Any = rows.select_related("project").filter(pk=object_id).first() if is_id(object_id) else None
    if row is None:
        raise missing
    try:
        get_project(user, row.project.slug, *roles)
    except NotFound:
        raise missing from None
    return row


def is_open_to(user: User, project_id: int) -> bool:
    """Say whether the token of this request, if there is one, is for this project: else it does not exist for it."""
    return user.only_projects is None or project_id in user.only_projects


def is_id(text: str) -> bool:
    """Say whether a text from outside can be the id of a row."""
    return text.isascii() and text.isdecimal() and len(text) <= MAX_ID_DIGITS
