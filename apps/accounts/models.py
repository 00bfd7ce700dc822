"""Users and API tokens."""

import hashlib
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.db import models
from django.utils import timezone

from apps.core.models import Created


class User(AbstractUser):
    """A person who signs in, or a named, inactive account that came along with imported labels."""

    imported_name = models.CharField(max_length=150, blank=True, help_text="The annotator's name in the imported file.")

    def __str__(self) -> str:
        return self.imported_name or self.get_full_name() or self.username

    @property
    def annotator_name(self) -> str:
        """Return the name under which this person's labels are exported."""
        return self.imported_name or self.username


class ApiTokenQuerySet(models.QuerySet["ApiToken"]):
    """Ways to pick tokens."""

    def usable(self, key: str) -> "ApiToken | None":
        """Return the live token with this key (one query), or None."""
        return (
            self.select_related("user")
            .filter(digest=ApiToken.digest_of(key), revoked_at=None, user__is_active=True)
            .filter(models.Q(expires_at=None) | models.Q(expires_at__gt=timezone.now()))
            .first()
        )


class ApiToken(Created):
    """A key for the REST API. Only its SHA-256 is stored: the key has 256 random bits, so a slow hash adds nothing."""

    class Scope(models.TextChoices):
        READ = "read", "Read"
        WRITE = "write", "Read and write"
        ADMIN = "admin", "Everything this person may do"

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scope = models.CharField(max_length=10, choices=Scope.choices, default=Scope.READ)
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["ApiToken"]] = ApiTokenQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.name} ({self.user})"

    @staticmethod
    def digest_of(key: str) -> str:
        """Return what is stored of a key."""
        return hashlib.sha256(key.encode()).hexdigest()

    def allows(self, *, writes: bool) -> bool:
        """Say whether the scope covers a request that reads, or one that writes."""
        return not writes or self.scope in {self.Scope.WRITE, self.Scope.ADMIN}
