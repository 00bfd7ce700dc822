"""Pages of a project's webhooks: set them up, see what they sent, send it again. For managers."""

import json
from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_GET, require_http_methods, require_POST

from apps.accounts.requests import PageRequest
from apps.core.counts import LongPaginator
from apps.core.errors import AppError, InvalidInput, NotFound
from apps.core.htmx import render_page
from apps.core.signed_in import signed_in
from apps.projects.access import get_membership, is_id
from apps.projects.models import Membership
from apps.webhooks import services
from apps.webhooks.forms import WebhookForm
from apps.webhooks.models import WebhookDelivery, WebhookEndpoint

PAGE = 25
STOP_POLLING = 286


@signed_in
@require_http_methods(["GET", "POST"])
def webhooks(request: PageRequest, slug: str) -> HttpResponse:
    """List the webhooks and add one; the secret of a new one is shown here, once."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    form, status = WebhookForm(request.POST or None), 200
    secret = made = None
    if request.method == "POST":
        status = 422
        if form.is_valid():
            try:
                made, secret = services.create_endpoint(
                    project=membership.project, actor=membership.user, **form.values()
                )
                form, status = WebhookForm(), 200
            except InvalidInput as refused:
                form.add_errors(refused.errors)
            except AppError as refused:
                form.add_error(None, refused.detail)
    rows = membership.project.webhooks.order_by("pk")
    context = {"membership": membership, "form": form, "webhooks": rows, "made": made, "secret": secret}
    return _unkept(render(request, "webhooks/webhooks.html", context, status=status))


@signed_in
@require_http_methods(["GET", "POST"])
def webhook(request: PageRequest, slug: str, webhook_id: int) -> HttpResponse:
    """Show one webhook with its log, and change it."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    shown = _webhook(membership, webhook_id)
    initial = {"url": shown.url, "description": shown.description, "events": shown.events}
    form, status = WebhookForm(request.POST or None, initial=initial), 200
    if request.method == "POST":
        if form.is_valid():
            try:
                services.change_endpoint(endpoint=shown, actor=membership.user, **form.values())
                messages.success(request, _("The webhook is changed."))
                return redirect("webhook", slug, shown.pk)
            except InvalidInput as refused:
                form.add_errors(refused.errors)
        status = 422
    context = _context(request, membership, shown, form=form)
    if request.htmx and request.method == "GET" and not context["waiting"]:
        status = STOP_POLLING
    return render_page(request, "webhooks/webhook.html", "log", context, status=status)


@signed_in
@require_POST
def rotate(request: PageRequest, slug: str, webhook_id: int) -> HttpResponse:
    """Replace the secret and show the new one, once."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    shown, secret = services.rotate_secret(endpoint=_webhook(membership, webhook_id), actor=membership.user)
    initial = {"url": shown.url, "description": shown.description, "events": shown.events}
    context = _context(request, membership, shown, form=WebhookForm(initial=initial), secret=secret)
    return _unkept(render(request, "webhooks/webhook.html", context))


@signed_in
@require_POST
def switch(request: PageRequest, slug: str, webhook_id: int) -> HttpResponse:
    """Switch a webhook on or off."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    shown, active = _webhook(membership, webhook_id), request.POST.get("active") == "true"
    services.change_endpoint(endpoint=shown, actor=membership.user, active=active)
    messages.success(request, _("The webhook is switched on.") if active else _("The webhook is switched off."))
    return redirect("webhook", slug, shown.pk)


@signed_in
@require_POST
def test(request: PageRequest, slug: str, webhook_id: int) -> HttpResponse:
    """Send a message that says nothing."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    shown = _webhook(membership, webhook_id)
    try:
        services.send_test(endpoint=shown)
        messages.success(request, _("A test message is on its way; the log says what becomes of it."))
    except AppError as refused:
        messages.error(request, refused.detail)
    return redirect("webhook", slug, shown.pk)


@signed_in
@require_POST
def remove(request: PageRequest, slug: str, webhook_id: int) -> HttpResponse:
    """Delete a webhook with its log."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    services.delete_endpoint(endpoint=_webhook(membership, webhook_id), actor=membership.user)
    messages.success(request, _("The webhook is deleted."))
    return redirect("webhooks", slug)


@signed_in
@require_POST
def replay(request: PageRequest, slug: str, webhook_id: int, delivery_id: int) -> HttpResponse:
    """Send a message again."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    shown = _webhook(membership, webhook_id)
    delivery = shown.deliveries.filter(pk=delivery_id).first() if is_id(str(delivery_id)) else None
    if delivery is None:
        raise NotFound(_("There is no such message in the log; messages are kept for thirty days."))
    try:
        services.replay(delivery=delivery)
        messages.success(request, _("The message is sent again."))
    except AppError as refused:
        messages.error(request, refused.detail)
    return redirect("webhook", slug, shown.pk)


@signed_in
@require_GET
def message(request: PageRequest, slug: str, webhook_id: int, delivery_id: int) -> HttpResponse:
    """Show one message: what is sent, and what was answered."""
    membership = get_membership(request.user, slug, Membership.Role.MANAGER)
    shown = _webhook(membership, webhook_id)
    delivery = shown.deliveries.filter(pk=delivery_id).first() if is_id(str(delivery_id)) else None
    if delivery is None:
        raise NotFound(_("There is no such message in the log; messages are kept for thirty days."))
    payload = json.dumps(json.loads(delivery.payload), indent=2, ensure_ascii=False)
    context = {"membership": membership, "webhook": shown, "delivery": delivery, "payload": payload}
    return render(request, "webhooks/message.html", context)


def _context(
    request: PageRequest, membership: Membership, shown: WebhookEndpoint, *, form: WebhookForm, secret: str = ""
) -> dict[str, Any]:
    state = request.GET.get("state", "")
    rows = shown.deliveries.order_by("-id").defer("payload", "reply")
    if state in WebhookDelivery.State.values:
        rows = rows.filter(state=state)
    page = LongPaginator(rows, PAGE).get_page(request.GET.get("page"))
    waiting = any(delivery.state == WebhookDelivery.State.PENDING for delivery in page)
    return {
        "membership": membership,
        "webhook": shown,
        "form": form,
        "secret": secret,
        "page": page,
        "state": state,
        "states": WebhookDelivery.State.choices,
        "waiting": waiting,
    }


def _webhook(membership: Membership, webhook_id: int) -> WebhookEndpoint:
    found = membership.project.webhooks.filter(pk=webhook_id).first() if is_id(str(webhook_id)) else None
    if found is None:
        raise NotFound(_("There is no such webhook in this project."))
    return found


def _unkept(response: HttpResponse) -> HttpResponse:
    """Keep a page with a secret out of every cache."""
    response.headers["Cache-Control"] = "no-store"
    return response
