"""Every setting, read top to bottom; what differs between places comes from the environment."""

import os
import secrets
from pathlib import Path
from urllib.parse import quote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from config import database
from workspace.platform import env
from workspace.platform.broker import JobQueue

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = env.boolean("DEBUG")

TRAINYARD_HOME = env.writable_folder("TRAINYARD_HOME", BASE_DIR / "var")
TRAINYARD_PORT = env.number("TRAINYARD_PORT", 8000, low=1, high=65535)
# Where clients of TensorFlow Serving's gRPC reach services; 0 answers none.
TRAINYARD_GRPC_PORT = env.number(
    "TRAINYARD_GRPC_PORT", min(TRAINYARD_PORT + 500, 65535), low=0, high=65535
)
TRAINYARD_URL = env.origin("TRAINYARD_URL", f"http://127.0.0.1:{TRAINYARD_PORT}")
# Where workers and the supervisor reach the web themselves, if not where others do.
TRAINYARD_OWN_URL = env.origin("TRAINYARD_OWN_URL", TRAINYARD_URL)
# Read once, so that no part and nothing that a part starts finds it in its environment.
TRAINYARD_ADMIN_PASSWORD = env.secret("TRAINYARD_ADMIN_PASSWORD")
TRAINYARD_CA_BUNDLE = env.existing_file("TRAINYARD_CA_BUNDLE")
TRAINYARD_SCORE_MAX_BYTES = env.number("TRAINYARD_SCORE_MAX_BYTES", 10_000_000, low=1, high=2**31)
# How long the gateway serves from what it knows while the database does not answer.
TRAINYARD_SERVE_STALE_SECONDS = env.number("TRAINYARD_SERVE_STALE_SECONDS", 60, low=0, high=3600)
TRAINYARD_MODEL_MAX_BYTES = env.number("TRAINYARD_MODEL_MAX_BYTES", 10 * 1000**3, low=1, high=2**50)
TRAINYARD_RUN_MAX_BYTES = env.number("TRAINYARD_RUN_MAX_BYTES", 20 * 1000**3, low=1, high=2**50)
# How much memory the queue counts for a process that states none.
TRAINYARD_DEFAULT_MEMORY_BYTES = env.number(
    "TRAINYARD_DEFAULT_MEMORY_BYTES", 1000**3, low=0, high=2**50
)
# For how many days a process goes on that cannot reach the web; 0 lets it go on for ever.
TRAINYARD_SERVER_TIMEOUT_DAYS = env.days("TRAINYARD_SERVER_TIMEOUT_DAYS", 7)
# How many seconds without progress an ending run may take.
TRAINYARD_FINALIZE_TIMEOUT = env.number("TRAINYARD_FINALIZE_TIMEOUT", 1800, low=10, high=7 * 86400)
# For how many days what is over is kept; 0 keeps it for ever.
TRAINYARD_KEEP_METRICS_DAYS = env.days("TRAINYARD_KEEP_METRICS_DAYS", 730)
TRAINYARD_KEEP_EVENTS_DAYS = env.days("TRAINYARD_KEEP_EVENTS_DAYS", 730)
TRAINYARD_KEEP_LOGS_DAYS = env.days("TRAINYARD_KEEP_LOGS_DAYS", 730)
# Quotas count the GPU-hours of a month by the processes that there were.
TRAINYARD_KEEP_REPLICAS_DAYS = env.days("TRAINYARD_KEEP_REPLICAS_DAYS", 90, low=32)
TRAINYARD_KEEP_REQUESTS_DAYS = env.days("TRAINYARD_KEEP_REQUESTS_DAYS", 7)
TRAINYARD_KEEP_AUDIT_DAYS = env.days("TRAINYARD_KEEP_AUDIT_DAYS", 1095)
TRAINYARD_KEEP_FAILED_JOBS_DAYS = env.days("TRAINYARD_KEEP_FAILED_JOBS_DAYS", 30)
TRAINYARD_KEEP_ENVIRONMENTS_DAYS = env.days("TRAINYARD_KEEP_ENVIRONMENTS_DAYS", 90)
# What serves models on targets with containers; "none" for the model server of our own.
TRAINYARD_SERVING_IMAGE = env.text("TRAINYARD_SERVING_IMAGE", "tensorflow/serving:{version}")
TRAINYARD_SERVING_GPU_IMAGE = env.text(
    "TRAINYARD_SERVING_GPU_IMAGE", "tensorflow/serving:{version}-gpu"
)
TRAINYARD_SERVING_FALLBACK = env.boolean("TRAINYARD_SERVING_FALLBACK", default=True)
# Whether models that read files or call out may be served where no container isolates them.
TRAINYARD_ALLOW_UNCONFINED_MODELS = env.boolean("TRAINYARD_ALLOW_UNCONFINED_MODELS", default=False)
_public_host = urlsplit(TRAINYARD_URL).hostname or ""
_is_https = TRAINYARD_URL.startswith("https://")
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# Other machines can only reach us by TRAINYARD_URL, so naming one there opens the port to them.
TRAINYARD_BIND = env.text(
    "TRAINYARD_BIND",
    "127.0.0.1" if _public_host in LOOPBACK else "0.0.0.0",  # noqa: S104
)
# Containers of an engine here reach us by their bridge, unless we are told where to listen.
LISTENS_FOR_CONTAINERS = not (env.text("TRAINYARD_URL") or env.text("TRAINYARD_BIND"))
# Private networks in which admins of teams may have engines of their own.
TRAINYARD_ALLOWED_ENGINE_NETWORKS = env.networks("TRAINYARD_ALLOWED_ENGINE_NETWORKS")
DOCKER_HOST = env.text("DOCKER_HOST", "unix:///var/run/docker.sock")

BROKER_SOCKET = TRAINYARD_HOME / "broker" / "valkey.sock"
HAS_OWN_BROKER = not env.text("REDIS_URL")
REDIS_URL = env.text("REDIS_URL", f"unix://{quote(str(BROKER_SOCKET))}")
if not REDIS_URL.startswith(("redis://", "rediss://", "unix://")):
    raise ImproperlyConfigured(
        f"REDIS_URL={REDIS_URL!r} is not the address of a broker: use redis://HOST:PORT/0."
    )
LONGEST_SOCKET_PATH = 107  # of the kernel: sockaddr_un
if HAS_OWN_BROKER and len(os.fsencode(BROKER_SOCKET)) > LONGEST_SOCKET_PATH:
    raise ImproperlyConfigured(
        f"TRAINYARD_HOME={str(TRAINYARD_HOME)!r} is too long a path for the broker's socket:"
        f" use one of at most {LONGEST_SOCKET_PATH - len('/broker/valkey.sock')} bytes."
    )


def _secret_key() -> str:
    """Take SECRET_KEY, or make one once and keep it where only we can read it."""
    given = env.text("SECRET_KEY")
    if given:
        return given
    kept = TRAINYARD_HOME / "secret_key"
    if not kept.exists():
        ours = kept.with_name(f"secret_key.{os.getpid()}")
        with os.fdopen(os.open(ours, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
        try:
            os.link(ours, kept)  # whole or not at all, and only the first of several wins
        except FileExistsError:
            pass
        finally:
            ours.unlink()
    return kept.read_text()


SECRET_KEY = _secret_key()
# Whose X-Forwarded-For and X-Forwarded-Proto are believed.
TRAINYARD_TRUSTED_PROXIES = env.networks("TRAINYARD_TRUSTED_PROXIES")
ALLOWED_HOSTS = [
    *env.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]"),
    f"[{_public_host}]" if ":" in _public_host else _public_host,
]
CSRF_TRUSTED_ORIGINS = [TRAINYARD_URL]
CSRF_FAILURE_VIEW = "workspace.platform.responses.csrf_failure"
CSRF_COOKIE_SECURE = SESSION_COOKIE_SECURE = _is_https
SECURE_HSTS_SECONDS = 30 * 24 * 3600 if _is_https else 0
SECURE_REFERRER_POLICY = "same-origin"
X_FRAME_OPTIONS = "DENY"

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "config.server.static.StaticFiles",
    "channels",
    "django_htmx",
    "django_rq",
    "ninja",
    "config.backup",
    "workspace",
    "runs",
    "models",
    "deploy",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "config.server.security.ContentSecurityPolicyMiddleware",
    "config.server.static.StaticFilesMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "workspace.accounts.middleware.LoginAndMembershipMiddleware",
    "workspace.platform.middleware.DomainErrorMiddleware",
]
ROOT_URLCONF = "config.urls"
ASGI_APPLICATION = "config.asgi.application"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
                "workspace.accounts.context_processors.current_team",
            ]
        },
    }
]

DATABASES = {"default": database.settings_from(env.text("DATABASE_URL"), TRAINYARD_HOME)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
BROKER_TIMEOUTS = {"socket_connect_timeout": 2, "socket_timeout": 2}
RQ_QUEUES = {
    queue.value: {"URL": REDIS_URL, "DEFAULT_TIMEOUT": 3600, "REDIS_CLIENT_KWARGS": BROKER_TIMEOUTS}
    for queue in JobQueue
}
RQ = {"WORKER_CLASS": "config.server.worker.Worker"}
CHANNEL_PREFIX = "trainyard"
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": CHANNEL_PREFIX},
    }
}

LOGIN_URL = "/login/"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/login/"
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
]

LANGUAGE_CODE = "en-us"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = BASE_DIR / "staticfiles"
STATICFILES_DIRS = [
    BASE_DIR / "static",
    ("vendor/uplot", BASE_DIR / "node_modules" / "uplot" / "dist"),
]
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "config.server.static.HashedStaticFiles"},
}

DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 1024 * 1024  # a manifest of some 100,000 files fits
FILE_UPLOAD_TEMP_DIR = TRAINYARD_HOME / "uploads"
FILE_UPLOAD_TEMP_DIR.mkdir(exist_ok=True)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"one_line": {"()": "config.server.log_format.OneLine"}},
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "one_line"}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    "loggers": {
        # What people ask for and may not have is no trouble of ours.
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},
        "django": {"level": "INFO"},
        "uvicorn": {"level": "WARNING"},
        "uvicorn.error": {"level": "WARNING"},
        "rq.worker": {"level": "WARNING"},
    },
}
