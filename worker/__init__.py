"""What runs outside the web: `tasks` are thin Celery tasks, `core` is plain Python without Django or Celery."""
