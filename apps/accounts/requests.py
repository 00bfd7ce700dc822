"""The request that a page view behind `signed_in` gets."""

from django.http import HttpRequest
from django_htmx.middleware import HtmxDetails

from apps.accounts.models import User


class PageRequest(HttpRequest):
    """A request of somebody who is signed in; `htmx` is true for a fragment that a script asked for."""

    user: User
    htmx: HtmxDetails
