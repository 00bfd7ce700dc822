"""Passwords: checked in one place for every door, and only so often for one address."""

from typing import Any

from django.conf import settings
from django.contrib.auth.backends import ModelBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from apps.accounts.models import User
from apps.core.addresses import client_address, network_of
from apps.core.allowances import Left, Limit, give_back, spend

PERIOD = 600.0


def failures() -> Limit:
    """Return how many wrong passwords one address may send."""
    return Limit("sign-in", settings.FAILED_SIGN_INS, PERIOD)


def refusal(request: HttpRequest | None) -> Left | None:
    """Return the empty allowance because of which this request's password was not even looked at, or None."""
    return getattr(request, "sign_in_refusal", None)


class PasswordBackend(ModelBackend):
    """Django's check of a password, behind an allowance per address.

    It is taken before the password is looked at and given back when the password is right, so that many tries at the
    same moment get no further than the same tries one by one. A user name has none: anybody could lock anybody out.
    """

    def authenticate(
        self, request: HttpRequest | None, username: str | None = None, password: str | None = None, **kwargs: Any
    ) -> User | None:
        """Return the person; None for a wrong password; PermissionDenied, which ends the search, after too many."""
        address = client_address(request) if request is not None else ""
        key, limit = f"sign-in:{network_of(address)}", failures()
        left = spend(key, limit) if address else None
        if left is not None and left.refused:
            request.sign_in_refusal = left  # type: ignore[union-attr]
            raise PermissionDenied
        user = super().authenticate(request, username=username, password=password, **kwargs)
        if user is not None and address:
            give_back(key, limit)
        return user if isinstance(user, User) else None
