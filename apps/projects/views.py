"""A project's settings, members and guideline."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.requests import PageRequest
from apps.core.errors import Conflict, InvalidInput, NotFound
from apps.core.signed_in import signed_in
from apps.projects.access import ANY_ROLE, get_membership, is_id
from apps.projects.forms import GuidelineForm, MemberForm, SettingsForm
from apps.projects.models import GuidelineVersion, Membership, Project
from apps.projects.services import add_member, change_protocol, change_role, remove_member, update_project


@signed_in
@require_http_methods(["GET", "POST"])
def members(request: PageRequest, slug: str) -> HttpResponse:
    """List the members and add one."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    form, status = MemberForm(request.POST or None), 200
    if request.method == "POST":
        if form.is_valid():
            try:
                add_member(project=membership.project, actor=membership.user, **form.cleaned_data)
                messages.success(request, _("%(username)s is a member now.") % form.cleaned_data)
                return redirect("members", slug)
            except (InvalidInput, Conflict) as refused:
                form.add_error("username", refused.errors[0].detail if refused.errors else refused.detail)
        status = 422
    people = Membership.objects.filter(project=membership.project).select_related("user")
    context = {
        "membership": membership,
        "form": form,
        "members": people.order_by("role", "user__username"),
        "roles": Membership.Role.choices,
    }
    return render(request, "projects/members.html", context, status=status)


@signed_in
@require_POST
def change_member(request: PageRequest, slug: str, username: str) -> HttpResponse:
    """Give a member another role."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    role = request.POST.get("role", "")
    try:
        change_role(project=membership.project, actor=membership.user, username=username, role=role)
        messages.success(request, _("The role of %(username)s is changed.") % {"username": username})
    except (InvalidInput, Conflict) as refused:
        messages.error(request, refused.detail)
    return redirect("members", slug)


@signed_in
@require_POST
def remove(request: PageRequest, slug: str, username: str) -> HttpResponse:
    """Take a member's access away."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    try:
        remove_member(project=membership.project, actor=membership.user, username=username)
        messages.success(request, _("%(username)s is no member any more.") % {"username": username})
    except Conflict as refused:
        messages.error(request, refused.detail)
    return redirect("members", slug)


@signed_in
@require_http_methods(["GET", "POST"])
def project_settings(request: PageRequest, slug: str) -> HttpResponse:
    """Show and change the name and what the protocol asks of people."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    form, status = SettingsForm(request.POST or None, project=membership.project), 200
    if request.method == "POST":
        if form.is_valid():
            name = form.cleaned_data["name"]
            try:
                change_protocol(project=membership.project, actor=membership.user, changes=form.changes(), name=name)
                messages.success(request, _("The settings are saved."))
                return redirect("project-settings", slug)
            except InvalidInput as refused:
                form.add_errors(refused.errors)
        status = 422
    context = {"membership": membership, "form": form, "guideline": membership.project.current_guideline()}
    return render(request, "projects/settings.html", context, status=status)


@signed_in
@require_http_methods(["GET", "POST"])
def guideline(request: PageRequest, slug: str) -> HttpResponse:
    """Show the current guideline, or an older version of it; a manager publishes the next one."""
    roles = ANY_ROLE if request.method == "GET" else (Membership.Role.MANAGER,)
    membership = get_membership(request.user, slug, *roles)
    current = membership.project.current_guideline()
    shown = _version(membership.project, request.GET.get("version", "")) or current
    form = GuidelineForm(request.POST or None, initial={"text": current.text})
    status = 200
    if request.method == "POST":
        if form.is_valid():
            text = form.cleaned_data["text"].replace("\r\n", "\n")
            update_project(project=membership.project, actor=membership.user, guideline=text)
            published = membership.project.current_guideline()
            messages.success(
                request,
                _("Version %(number)s is published.") % {"number": published.number}
                if published.number > current.number
                else _("Nothing has changed."),
            )
            return redirect("guideline", slug)
        status = 422
    versions = membership.project.guideline_versions.select_related("created_by").order_by("-number")
    context = {"membership": membership, "form": form, "current": current, "shown": shown, "versions": versions}
    return render(request, "projects/guideline.html", context, status=status)


def _version(project: Project, number: str) -> GuidelineVersion | None:
    """Return the version of this number, None where no number is given."""
    if not number:
        return None
    version = project.guideline_versions.filter(number=number).first() if is_id(number) and len(number) < 10 else None
    if version is None:
        raise NotFound(_("There is no such version of the guideline."))
    return version
