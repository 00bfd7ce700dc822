"""The one door to a project: a stranger gets 404, a member with the wrong role 403."""

from django.contrib.auth.models import AnonymousUser

from apps.accounts.models import User
from apps.core.errors import Forbidden, NotFound
from apps.projects.models import Membership, Project

Role = Membership.Role
ANY_ROLE = tuple(Role)
SEES_RESULTS = (Role.MANAGER, Role.RESEARCHER)
"""Who may see signals, other people's labels, datasets and models."""
LABELS = (Role.MANAGER, Role.REVIEWER, Role.ANNOTATOR)


def get_membership(user: User | AnonymousUser, slug: str, *roles: Role) -> Membership:
    """Return the person's membership with its project (one query); superusers count as managers everywhere."""
    membership = None
    if user.is_authenticated:
        membership = Membership.objects.select_related("project").filter(project__slug=slug, user=user).first()
        if user.is_superuser and (membership is None or membership.role not in roles):
            project = Project.objects.filter(slug=slug).first()
            membership = Membership(project=project, user=user, role=Role.MANAGER) if project else None
    if membership is None:
        raise NotFound("There is no such project, or you are not a member of it.")
    if membership.role not in roles:
        wanted = " or ".join(role.label.lower() for role in roles)
        raise Forbidden(
            f"This needs the role {wanted}; you are {membership.get_role_display().lower()} of {membership.project}."
        )
    return membership


def get_project(user: User | AnonymousUser, slug: str, *roles: Role) -> Project:
    """Return the project if the person has one of `roles` in it; raise NotFound or Forbidden otherwise."""
    return get_membership(user, slug, *roles).project
