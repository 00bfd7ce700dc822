"""REST: projects and their members."""

from typing import Any

from django.db import transaction
from django.db.models import F, OuterRef, QuerySet, Subquery, Value
from drf_spectacular.utils import OpenApiParameter, extend_schema
from rest_framework import status
from rest_framework.response import Response
from rest_framework.views import APIView

from apps.accounts.api_views import SignedInRequest, require_admin
from apps.accounts.models import User
from apps.core.api_views import ListView
from apps.core.entity_tags import check_if_match
from apps.core.errors import Forbidden, NotFound
from apps.core.json_values import why_unstorable
from apps.projects import services
from apps.projects.access import ANY_ROLE, Role, get_project
from apps.projects.models import GuidelineVersion, Membership, Project
from apps.projects.serializers import (
    MemberSerializer,
    NewMemberSerializer,
    NewProjectSerializer,
    ProjectChangesSerializer,
    ProjectSerializer,
    RoleSerializer,
)

SEES_MEMBERS = (Role.MANAGER, Role.REVIEWER, Role.RESEARCHER)
MAKING_MANAGERS = "Making or unmaking a manager"


def visible_projects(user: Any) -> QuerySet[Project]:
    """Return the projects of a person with `role`, `guideline` and `guideline_version`; all of them for a superuser."""
    newest = GuidelineVersion.objects.filter(project=OuterRef("pk")).order_by("-number")
    projects = Project.objects.annotate(
        guideline=Subquery(newest.values("text")[:1]), guideline_version=Subquery(newest.values("number")[:1])
    )
    if user.only_projects is not None:
        projects = projects.filter(pk__in=user.only_projects)
    if user.is_superuser:
        return projects.annotate(role=Value(Role.MANAGER.value))
    return projects.filter(memberships__user=user).annotate(role=F("memberships__role"))


class ProjectList(ListView):
    """The projects you are a member of."""

    serializer_class = ProjectSerializer

    def get_queryset(self) -> QuerySet[Project]:
        """Return the person's projects."""
        return visible_projects(self.request.user)

    @extend_schema(request=NewProjectSerializer, responses={201: ProjectSerializer})
    def post(self, request: SignedInRequest) -> Response:
        """Create a project and become its manager; a token that is limited to projects cannot."""
        if request.user.only_projects is not None:
            raise Forbidden("This token is limited to projects that there are already; it cannot make another one.")
        body = NewProjectSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        project = services.create_project(created_by=request.user, **body.validated_data)
        created = visible_projects(request.user).get(pk=project.pk)
        return Response(ProjectSerializer(created).data, status=status.HTTP_201_CREATED)


class ProjectDetail(APIView):
    """One project."""

    @extend_schema(responses=ProjectSerializer)
    def get(self, request: SignedInRequest, slug: str) -> Response:
        """Return a project; every member may see it."""
        project = get_project(request.user, slug, *ANY_ROLE)
        return Response(self._shown(request, project))

    @extend_schema(
        request=ProjectChangesSerializer,
        responses=ProjectSerializer,
        parameters=[
            OpenApiParameter(
                "If-Match",
                str,
                OpenApiParameter.HEADER,
                description="The `ETag` of the project as you have read it: 412 if somebody changed it since.",
            )
        ],
    )
    def patch(self, request: SignedInRequest, slug: str) -> Response:
        """Change what is given, for managers; a changed guideline becomes a new version."""
        project = get_project(request.user, slug, Role.MANAGER)
        body = ProjectChangesSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        with transaction.atomic():
            if "If-Match" in request.headers:
                Project.objects.select_for_update(no_key=True).get(pk=project.pk)
                check_if_match(request, self._shown(request, project))
            self.change(project, request.user, dict(body.validated_data))
        self.after_change(project, body.validated_data)
        return Response(self._shown(request, project))

    def change(self, project: Project, actor: User, changes: dict[str, Any]) -> None:
        """Change what this app owns of a project; `apps.signals` adds the order of the queue."""
        services.update_project(project=project, actor=actor, **changes)

    def after_change(self, project: Project, changes: dict[str, Any]) -> None:
        """Do what takes long, outside the transaction that changed the project."""

    def _shown(self, request: SignedInRequest, project: Project) -> Any:
        return ProjectSerializer(visible_projects(request.user).get(pk=project.pk)).data


class MemberList(ListView):
    """The people of a project; for managers, reviewers and researchers."""

    serializer_class = MemberSerializer

    def get_queryset(self) -> QuerySet[Membership]:
        """Return the memberships of the project."""
        project = get_project(self.request.user, self.kwargs["slug"], *SEES_MEMBERS)
        return project.memberships.select_related("user")

    @extend_schema(request=NewMemberSerializer, responses={201: MemberSerializer})
    def post(self, request: SignedInRequest, slug: str) -> Response:
        """Give an existing account a role in the project. For managers; making a manager needs the scope admin."""
        project = get_project(request.user, slug, Role.MANAGER)
        body = NewMemberSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        if body.validated_data["role"] == Role.MANAGER:
            require_admin(request, MAKING_MANAGERS)
        membership = services.add_member(project=project, actor=request.user, **body.validated_data)
        return Response(MemberSerializer(membership).data, status=status.HTTP_201_CREATED)


class MemberDetail(APIView):
    """One member of a project; for managers."""

    @extend_schema(request=RoleSerializer, responses=MemberSerializer)
    def patch(self, request: SignedInRequest, slug: str, username: str) -> Response:
        """Change a member's role; a project keeps at least one manager. To or from manager needs the scope admin."""
        project = get_project(request.user, slug, Role.MANAGER)
        body = RoleSerializer(data=request.data)
        body.is_valid(raise_exception=True)
        username, role = _storable(username), body.validated_data["role"]
        if role == Role.MANAGER or _is_manager(project, username):
            require_admin(request, MAKING_MANAGERS)
        membership = services.change_role(project=project, actor=request.user, username=username, role=role)
        return Response(MemberSerializer(membership).data)

    @extend_schema(responses={204: None})
    def delete(self, request: SignedInRequest, slug: str, username: str) -> Response:
        """Take a person's access away; their annotations stay. A manager's needs the scope admin."""
        project = get_project(request.user, slug, Role.MANAGER)
        username = _storable(username)
        if _is_manager(project, username):
            require_admin(request, MAKING_MANAGERS)
        services.remove_member(project=project, actor=request.user, username=username)
        return Response(status=status.HTTP_204_NO_CONTENT)


def _is_manager(project: Project, username: str) -> bool:
    return project.memberships.filter(user__username=username, role=Role.MANAGER).exists()


def _storable(username: str) -> str:
    if why_unstorable(username):
        raise NotFound("There is no such member of this project.")
    return username
