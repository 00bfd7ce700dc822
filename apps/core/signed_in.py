"""Let only signed-in people through: a page sends them to sign in, a script is told so."""

from collections.abc import Callable
from functools import wraps

from django.contrib.auth.views import redirect_to_login
from django.http import HttpRequest, HttpResponse, HttpResponseBase
from django.utils.translation import gettext as _

View = Callable[..., HttpResponseBase]


def signed_in(view: View) -> View:
    """Send an anonymous person to the sign-in page and back; answer a script with 401.

    A redirect would give a script the sign-in page as if it were its answer, and the text on the page would be swapped
    away.
    """

    @wraps(view)
    def wrapped(request: HttpRequest, *args: object, **kwargs: object) -> HttpResponseBase:
        if request.user.is_authenticated:
            return view(request, *args, **kwargs)
        if getattr(request, "htmx", False) or request.headers.get("Accept") == "application/json":
            return HttpResponse(_("You are signed out."), status=401, content_type="text/plain; charset=utf-8")
        return redirect_to_login(request.get_full_path() if request.method == "GET" else "")

    return wrapped
