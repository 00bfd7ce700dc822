"""An import: a file that was handed in, and what became of its rows."""

from django.conf import settings
from django.db import models

from apps.core.models import Created
from apps.jobs.models import Job
from apps.projects.models import Project


class Import(Created):
    """One file of pairs; the counts live in its job's result, and one row here per file keeps where it came from."""

    project = models.ForeignKey(Project, on_delete=models.CASCADE, related_name="imports")
    file_name = models.CharField(max_length=200)
    stored_as = models.CharField(max_length=200, help_text="Name of the file in the artifact storage.")
    job = models.OneToOneField(Job, on_delete=models.SET_NULL, null=True, related_name="import_of")
    created_by = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.SET_NULL, null=True, related_name="+")

    def __str__(self) -> str:
        return self.file_name
