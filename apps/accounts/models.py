"""Users and API tokens."""

import hashlib
from collections.abc import Mapping, Sequence
from typing import ClassVar

from django.contrib.auth.models import AbstractUser
from django.contrib.postgres.fields import ArrayField
from django.db import models
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from apps.core.models import Created


class User(AbstractUser):
    """A person who signs in, or a named, inactive account that came along with imported labels."""

    imported_name = models.CharField(max_length=150, blank=True, help_text="The annotator's name in the imported file.")

    only_projects: Sequence[int] | None = None
    """Ids of the projects that this request is limited to, by its token; not stored. `apps.projects.access` asks."""

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
        token = self.select_related("user").filter(digest=ApiToken.digest_of(key)).first()
        return token if token is not None and token.is_usable else None


class ApiToken(Created):
    """A key for the REST API. Only its SHA-256 is stored: the key has 256 random bits, so a slow hash adds nothing.

    What each scope may do stands in docs/decisions/0010-scopes-of-tokens.md.
    """

    class Scope(models.TextChoices):
        READ = "read", _("Read")
        WRITE = "write", _("Read and write")
        ADMIN = "admin", _("Everything this person may do")

    RANK = {Scope.READ: 0, Scope.WRITE: 1, Scope.ADMIN: 2}

    user = models.ForeignKey(User, on_delete=models.CASCADE, related_name="api_tokens")
    name = models.CharField(max_length=100)
    digest = models.CharField(max_length=64, unique=True, editable=False)
    scope = models.CharField(max_length=10, choices=Scope.choices, default=Scope.READ)
    project_ids = ArrayField(
        models.BigIntegerField(),
        null=True,
        blank=True,
        editable=False,
        help_text="The projects it is limited to; null for all. An id of a deleted project opens nothing.",
    )
    made_by = models.ForeignKey(
        "self",
        on_delete=models.CASCADE,
        null=True,
        editable=False,
        related_name="made",
        help_text="The token it is from.",
    )
    expires_at = models.DateTimeField(null=True, blank=True)
    last_used_at = models.DateTimeField(null=True, blank=True, editable=False)
    last_used_from = models.GenericIPAddressField(null=True, editable=False)
    revoked_at = models.DateTimeField(null=True, blank=True)

    objects: ClassVar[models.Manager["ApiToken"]] = ApiTokenQuerySet.as_manager()

    def __str__(self) -> str:
        return f"{self.name} ({self.user})"

    @property
    def is_usable(self) -> bool:
        """Say whether the token opens the door now: not revoked, not expired, and of somebody who may sign in."""
        expired = self.expires_at is not None and self.expires_at <= timezone.now()
        return self.revoked_at is None and not expired and self.user.is_active

    def slugs(self, known: Mapping[int, str]) -> list[str] | None:
        """Return the slugs of the projects it is limited to, of those that `known` has; None without a limit."""
        if self.project_ids is None:
            return None
        return sorted(known[project_id] for project_id in self.project_ids if project_id in known)

    @staticmethod
    def digest_of(key: str) -> str:
        """Return what is stored of a key."""
        return hashlib.sha256(key.encode()).hexdigest()

    def allows(self, scope: str) -> bool:
        """Say whether this token's scope covers another one."""
        return self.RANK[self.Scope(self.scope)] >= self.RANK[self.Scope(scope)]
