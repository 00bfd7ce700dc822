"""One's own account: API tokens. Signing in and out are Django's own views."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.forms import TokenForm
from apps.accounts.models import ApiToken
from apps.accounts.requests import PageRequest
from apps.accounts.services import create_token, revoke_token
from apps.core.errors import NotFound
from apps.core.signed_in import signed_in


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
