"""Create an API token: `create_token USERNAME [--scope S] [--project SLUG …] [--days N]`. The last line is the key."""

from typing import Any

from django.core.management.base import BaseCommand, CommandError, CommandParser

from apps.accounts.models import ApiToken, User
from apps.accounts.services import DEFAULT_TOKEN_DAYS, create_token
from apps.core.errors import AppError


class Command(BaseCommand):
    help = "Create an API token for a person and print its key, which cannot be shown again, alone on the last line."

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("username")
        parser.add_argument("--scope", choices=ApiToken.Scope.values, default=ApiToken.Scope.READ.value)
        parser.add_argument(
            "--project", action="append", dest="projects", metavar="SLUG", help="Limit it to this project; may repeat."
        )
        parser.add_argument("--days", type=int, default=DEFAULT_TOKEN_DAYS, help="Days until it expires.")
        parser.add_argument("--name", default="command line", help="What the token is for.")

    def handle(self, *args: Any, **options: Any) -> None:
        user = User.objects.filter(username=options["username"]).first()
        if user is None:
            raise CommandError(f"No account is named {options['username']!r}.")
        if not user.is_active:
            raise CommandError(f"The account {user.username} is not active; its tokens would open nothing.")
        try:
            token, key = create_token(
                user=user,
                name=options["name"][:100],
                scope=options["scope"],
                projects=options["projects"],
                days=options["days"],
            )
        except AppError as error:
            raise CommandError(error.detail) from error
        where = f", only in {', '.join(sorted(set(options['projects'])))}" if options["projects"] else ""
        self.stdout.write(f"Token of {user.username}, scope {token.scope}{where}, until {token.expires_at:%Y-%m-%d}:")
        self.stdout.write(key)
