from typing import Any

from django.core.management.base import BaseCommand, CommandError

from apps.core.errors import AppError
from apps.endpoints.services import encrypt_keys_again


class Command(BaseCommand):
    help = "Encrypt the keys of all model endpoints under the first of ENCRYPTION_KEYS."

    def handle(self, *args: Any, **options: Any) -> None:
        try:
            count = encrypt_keys_again()
        except AppError as error:
            raise CommandError(error.detail) from error
        self.stdout.write(f"{count} keys are encrypted under the first of ENCRYPTION_KEYS.")
