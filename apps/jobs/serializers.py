"""JSON of jobs, and of the reply to everything that starts one."""

from typing import Any

from drf_spectacular.utils import extend_schema_field
from rest_framework import serializers

from apps.jobs.models import Job


class JobProgressSerializer(serializers.Serializer[Any]):
    """How far a job is."""

    done = serializers.IntegerField()
    total = serializers.IntegerField(help_text="0 while the amount of work is unknown.")
    message = serializers.CharField()


class JobSerializer(serializers.Serializer[Job]):
    """One long task. With `live_queues` in the context, a job that waits for a missing worker says so."""

    id = serializers.CharField()
    kind = serializers.CharField()
    state = serializers.ChoiceField(choices=Job.State.choices)
    progress = serializers.SerializerMethodField()
    result = serializers.JSONField(allow_null=True)
    error = serializers.SerializerMethodField()
    created_at = serializers.DateTimeField()
    started_at = serializers.DateTimeField(allow_null=True)
    finished_at = serializers.DateTimeField(allow_null=True)

    @extend_schema_field(JobProgressSerializer)
    def get_progress(self, job: Job) -> dict[str, Any]:
        """Return how far the job is."""
        message = job.message
        if job.state == Job.State.QUEUED and job.queue not in self.context.get("live_queues", {job.queue}):
            message = f"Waiting: no {job.queue} worker is running."
        return {"done": job.done, "total": job.total, "message": message}

    def get_error(self, job: Job) -> str | None:
        """Return what went wrong, or null."""
        return job.error or None


class AcceptedSerializer(serializers.Serializer[Any]):
    """Long work has begun: the object it will fill, if there is one, and the job to watch."""

    id = serializers.CharField(allow_null=True, help_text="The object created, or null.")
    job = JobSerializer()
