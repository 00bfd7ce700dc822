from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError

from apps.core.errors import AppError
from apps.pages.demo import PASSWORD, ROLES, load_demo


class Command(BaseCommand):
    help = "Load the demo project once and print its accounts; a second run changes nothing."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            loaded = load_demo(folder=settings.BASE_DIR / "demo")
        except AppError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{loaded.project.name} {'was loaded' if loaded.created else 'is there'}. Its accounts:\n\n")
        for name, role in ROLES.items():
            self.stdout.write(f"  {name:<12} password {PASSWORD}   {role.label.lower()}")
