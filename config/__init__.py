"""Wiring: settings, URLs, WSGI, Celery."""
