"""Settings of the unit tests: the product's own, with a broker in memory and folders that go away.

Tests of real brokers, workers and browsers (tests/e2e, tests/services) start processes with the product's settings.
"""

import tempfile
from pathlib import Path

from config.settings import *  # noqa: F403
from config.settings import STORAGES

_FILES = Path(tempfile.mkdtemp(prefix="tiebreak-test-"))
CELERY_BROKER_URL = "memory://localhost"
CACHE_DIR, RUNS_DIR = _FILES / "cache", _FILES / "runs"
STORAGES = {
    **STORAGES,
    "artifacts": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": _FILES / "artifacts"},
    },
    "staticfiles": {"BACKEND": "django.contrib.staticfiles.storage.StaticFilesStorage"},
}
STATIC_ROOT = _FILES / "static"
STATIC_ROOT.mkdir()
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
API_RATE_LIMIT_ANONYMOUS = 1_000_000  # every test calls from the same address
