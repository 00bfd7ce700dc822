"""What the REST views of every app may rely on about the caller."""

from rest_framework.request import Request

from apps.accounts.models import User


class SignedInRequest(Request):
    """A request for type checkers: the API lets nobody in who is not signed in (`apps.api.authentication`)."""

    user: User
