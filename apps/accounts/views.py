"""One's own account: API tokens. Signing in and out on pages of their own are Django's views."""

from itertools import chain

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.forms import AuthenticationForm
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.html import format_html_join
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import trigger_client_event

from apps.accounts.forms import TokenForm
from apps.accounts.models import ApiToken
from apps.accounts.requests import PageRequest
from apps.accounts.services import create_token, revoke_token
from apps.core.errors import NotFound
from apps.core.signed_in import signed_in


@require_POST
@sensitive_post_parameters("password")
@cache_control(no_store=True)
def sign_in_again(request: HttpRequest) -> HttpResponse:
    """Sign the person of an open page in again, in its dialog; somebody else would get a page that is not theirs."""
    form = AuthenticationForm(request, data=request.POST)
    if not form.is_valid():
        return HttpResponse(
            format_html_join(" ", "{}", ((error,) for error in chain(*form.errors.values()))), status=422
        )
    if str(form.get_user().pk) != request.POST.get("person"):
        return HttpResponse(_("This page belongs to somebody else. Sign in in a new tab."), status=422)
    login(request, form.get_user())
    return trigger_client_event(HttpResponse(status=204), "signed-in")


@signed_in
@require_http_methods(["GET", "POST"])
@cache_control(no_store=True)
def tokens(request: PageRequest) -> HttpResponse:
    """List my tokens and make one; its key is on the page that answers, and never again."""
    form = TokenForm(request.POST or None)
    key, status = "", 200
    if request.method == "POST":
        if form.is_valid():
            _token, key = create_token(user=request.user, **form.cleaned_data)
            form = TokenForm()
        else:
            status = 422
    mine = ApiToken.objects.filter(user=request.user).order_by("revoked_at", "-id")
    return render(request, "accounts/tokens.html", {"form": form, "key": key, "tokens": mine}, status=status)


@signed_in
@require_POST
def revoke(request: PageRequest, token_id: int) -> HttpResponse:
    """Make one of my tokens worthless."""
    token = ApiToken.objects.filter(user=request.user, pk=token_id).first()
    if token is None:
        raise NotFound(_("There is no such token."))
    revoke_token(token=token)
    messages.success(request, _("The token %(name)s is revoked.") % {"name": token.name})
    return redirect("tokens")
