"""Pages of one's own language models: add, change, test, see what was called."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import cache_control
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST

from apps.accounts.requests import PageRequest
from apps.core.counts import LongPaginator
from apps.core.errors import AppError, InvalidInput
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.endpoints import services
from apps.endpoints.forms import EndpointForm
from apps.endpoints.models import ModelEndpoint

PAGE = 25
STOP_POLLING = 286


@signed_in
@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("api_key")
@cache_control(no_store=True)
def endpoints(request: PageRequest) -> HttpResponse:
    """List my language models and add one."""
    form, status = EndpointForm(request.POST or None), 200
    if request.method == "POST":
        if form.is_valid():
            try:
                made = services.create_endpoint(owner=request.user, **form.values())
                return redirect("model-endpoint", made.pk)
            except InvalidInput as refused:
                form.add_errors(refused.errors)
            except AppError as refused:
                form.add_error(None, refused.detail)
        status = 422
    rows = services.endpoints_of(request.user).select_related("owner").order_by("name", "pk")
    return render(request, "endpoints/endpoints.html", {"form": form, "rows": rows}, status=status)


@signed_in
@require_http_methods(["GET", "POST"])
@sensitive_post_parameters("api_key")
@cache_control(no_store=True)
def endpoint(request: PageRequest, endpoint_id: int) -> HttpResponse:
    """Show one language model with its log, and change it."""
    shown = services.get_endpoint(request.user, str(endpoint_id))
    form, status = EndpointForm(request.POST or None, initial=_values(shown)), 200
    if request.method == "POST":
        if form.is_valid():
            try:
                services.change_endpoint(endpoint=shown, **form.values())
                messages.success(request, _("The model is changed."))
                return redirect("model-endpoint", shown.pk)
            except InvalidInput as refused:
                form.add_errors(refused.errors)
        status = 422
    elif request.htmx and shown.test_wanted_at is None:
        status = STOP_POLLING
    calls = LongPaginator(shown.calls.order_by("-id"), PAGE).get_page(request.GET.get("page"))
    context = {"endpoint": shown, "form": form, "page": calls}
    return render_page(request, "endpoints/endpoint.html", "test", context, status=status)


@signed_in
@require_POST
def test(request: PageRequest, endpoint_id: int) -> HttpResponse:
    """Ask the model for one word; its page says what came."""
    shown = services.get_endpoint(request.user, str(endpoint_id))
    try:
        services.test_endpoint(endpoint=shown)
    except AppError as refused:
        messages.error(request, refused.detail)
    return redirect("model-endpoint", shown.pk)


@signed_in
@require_POST
def remove(request: PageRequest, endpoint_id: int) -> HttpResponse:
    """Delete a language model with its log."""
    services.delete_endpoint(endpoint=services.get_endpoint(request.user, str(endpoint_id)))
    messages.success(request, _("The model is deleted."))
    return redirect("model-endpoints")


def _values(shown: ModelEndpoint) -> dict[str, object]:
    return {name: getattr(shown, name) for name in EndpointForm.base_fields if name != "api_key"}
