"""Create an API token: `create_token USERNAME [--scope read|write|admin]`. The last line is the key alone."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.models import ApiToken, User
from apps.accounts.services import create_token


class Command(BaseCommand):
    help = "Create an API token for a person and print its key, which cannot be shown again, alone on the last line."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--scope", choices=ApiToken.Scope.values, default=ApiToken.Scope.READ.value)
        parser.add_argument("--name", default="command line", help="What the token is for.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"No account is named {options['username']!r}.")
        if not user.is_active:
            raise CommandError(f"The account {user.username} is not active; its tokens would open nothing.")
        token, key = create_token(user=user, name=options["name"][:100], scope=options["scope"])
        self.stdout.write(f"Token of {user.username}, scope {token.scope}, until {token.expires_at:%Y-%m-%d}:")
        self.stdout.write(key)
