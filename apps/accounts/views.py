"""One's own account: signing in, and API tokens. Signing out is Django's view."""

from itertools import chain

from django.contrib import messages
from django.contrib.auth import login
from django.contrib.auth.views import LoginView
from django.db.models import F
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.html import format_html_join
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST
from django_htmx.http import trigger_client_event

from apps.accounts.forms import SignInForm, TokenForm
from apps.accounts.models import ApiToken
from apps.accounts.requests import PageRequest
from apps.accounts.services import create_token, revoke_token, slugs_by_id
from apps.accounts.sign_in import refusal
from apps.core.errors import NotFound
from apps.core.signed_in import signed_in


class SignIn(LoginView):
    """Django's page, with the status that says so when this address has failed too often."""

    authentication_form = SignInForm
    redirect_authenticated_user = True

    def form_invalid(self, form: SignInForm) -> HttpResponse:  # type: ignore[override]
        """Show the page again with what was wrong."""
        return _if_refused(self.request, super().form_invalid(form))


@require_POST
@sensitive_post_parameters("password")
@cache_control(no_store=True)
def sign_in_again(request: HttpRequest) -> HttpResponse:
    """Sign the person of an open page in again, in its dialog; somebody else would get a page that is not theirs."""
    form = SignInForm(request, data=request.POST)
    if not form.is_valid():
        said = format_html_join(" ", "{}", ((error,) for error in chain(*form.errors.values())))
        return _if_refused(request, HttpResponse(said, status=422))
    if str(form.get_user().pk) != request.POST.get("person"):
        return HttpResponse(_("This page belongs to somebody else. Sign in in a new tab."), status=422)
    login(request, form.get_user())
    return trigger_client_event(HttpResponse(status=204), "signed-in")


@signed_in
@require_http_methods(["GET", "POST"])
@cache_control(no_store=True)
def tokens(request: PageRequest) -> HttpResponse:
    """List my tokens and make one; its key is on the page that answers, and never again."""
    form = TokenForm(request.POST or None, user=request.user)
    key, status = "", 200
    if request.method == "POST":
        if form.is_valid():
            _token, key = create_token(user=request.user, **form.cleaned_data)
            form = TokenForm(user=request.user)
        else:
            status = 422
    mine = list(ApiToken.objects.filter(user=request.user).order_by(F("revoked_at").asc(nulls_first=True), "-id"))
    slugs = slugs_by_id(user=request.user, tokens=mine)
    rows = [(token, token.slugs(slugs)) for token in mine]
    return render(request, "accounts/tokens.html", {"form": form, "key": key, "rows": rows}, status=status)


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


def _if_refused(request: HttpRequest, response: HttpResponse) -> HttpResponse:
    if (left := refusal(request)) is not None:
        response.status_code = 429
        response.headers["Retry-After"] = str(left.retry_after)
    return response
