"""Abstract models, and the buckets of `apps.core.allowances`."""

from django.db import models


class Created(models.Model):
    """A row that knows when it was made."""

    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        abstract = True


class Allowance(models.Model):
    """How much a caller has spent. The table is unlogged: a crash of the database fills every bucket, nothing more."""

    key = models.CharField(max_length=200, primary_key=True, help_text="Who: a token, a person or an address.")
    full_at = models.FloatField(help_text="Seconds since 1970 at which all of it is there again.")

    def __str__(self) -> str:
        return self.key
