"""Thin Celery tasks: claim the Job, turn rows into dataclasses, call `worker.core`, store."""
