"""Every setting, read top to bottom; what differs between places comes from the environment."""

import os
import secrets
from pathlib import Path
from urllib.parse import quote, urlsplit

from django.core.exceptions import ImproperlyConfigured

from config import database, environment

BASE_DIR = Path(__file__).resolve().parent.parent
DEBUG = environment.flag("DEBUG")

TRAINYARD_HOME = environment.writable_folder("TRAINYARD_HOME", BASE_DIR / "var")
TRAINYARD_PORT = environment.number("TRAINYARD_PORT", 8000, low=1, high=65535)
# Where clients of TensorFlow Serving's gRPC reach services; 0 answers none.
TRAINYARD_GRPC_PORT = environment.number(
    "TRAINYARD_GRPC_PORT", min(TRAINYARD_PORT + 500, 65535), low=0, high=65535
)
TRAINYARD_URL = environment.origin("TRAINYARD_URL", f"http://127.0.0.1:{TRAINYARD_PORT}")
# Where workers and the supervisor reach the web themselves, if not where others do.
TRAINYARD_OWN_URL = environment.origin("TRAINYARD_OWN_URL", TRAINYARD_URL)
TRAINYARD_CA_BUNDLE = environment.existing_file("TRAINYARD_CA_BUNDLE")
TRAINYARD_SCORE_MAX_BYTES = environment.number(
    "TRAINYARD_SCORE_MAX_BYTES", 10_000_000, low=1, high=2**31
)
TRAINYARD_MODEL_MAX_BYTES = environment.number(
    "TRAINYARD_MODEL_MAX_BYTES", 10 * 1000**3, low=1, high=2**50
)
TRAINYARD_RUN_MAX_BYTES = environment.number(
    "TRAINYARD_RUN_MAX_BYTES", 20 * 1000**3, low=1, high=2**50
)
# What serves models on targets with containers; "none" for the model server of our own.
TRAINYARD_SERVING_IMAGE = environment.text(
    "TRAINYARD_SERVING_IMAGE", "tensorflow/serving:{version}"
)
TRAINYARD_SERVING_GPU_IMAGE = environment.text(
    "TRAINYARD_SERVING_GPU_IMAGE", "tensorflow/serving:{version}-gpu"
)
TRAINYARD_SERVING_FALLBACK = environment.flag("TRAINYARD_SERVING_FALLBACK", default=True)
_public_host = urlsplit(TRAINYARD_URL).hostname or ""
_is_https = TRAINYARD_URL.startswith("https://")
LOOPBACK = {"127.0.0.1", "localhost", "::1"}
# Other machines can only reach us by TRAINYARD_URL, so naming one there opens the port to them.
TRAINYARD_BIND = environment.text(
    "TRAINYARD_BIND",
    "127.0.0.1" if _public_host in LOOPBACK else "0.0.0.0",  # noqa: S104
)
# Containers of an engine here reach us by their bridge, unless we are told where to listen.
LISTENS_FOR_CONTAINERS = not (
    environment.text("TRAINYARD_URL") or environment.text("TRAINYARD_BIND")
)
DOCKER_HOST = environment.text("DOCKER_HOST", "unix:///var/run/docker.sock")

BROKER_SOCKET = TRAINYARD_HOME / "broker" / "valkey.sock"
HAS_OWN_BROKER = not environment.text("REDIS_URL")
REDIS_URL = environment.text("REDIS_URL", f"unix://{quote(str(BROKER_SOCKET))}")
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
    given = environment.text("SECRET_KEY")
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
ALLOWED_HOSTS = [
    *environment.words("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]"),
    f"[{_public_host}]" if ":" in _public_host else _public_host,
]
CSRF_TRUSTED_ORIGINS = [TRAINYARD_URL]
CSRF_FAILURE_VIEW = "workspace.views_trouble.csrf_failure"
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
    "config.static.StaticFiles",
    "channels",
    "django_htmx",
    "django_rq",
    "ninja",
    "workspace",
    "runs",
    "models",
    "deploy",
]
MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "config.security.ContentSecurityPolicy",
    "config.static.ServeStaticFiles",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "workspace.middleware.SignedIn",
    "workspace.middleware.DomainErrors",
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
                "workspace.context.current_team",
            ]
        },
    }
]

DATABASES = {"default": database.settings_from(environment.text("DATABASE_URL"), TRAINYARD_HOME)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
BROKER_PATIENCE = {"socket_connect_timeout": 2, "socket_timeout": 2}
RQ_QUEUES = {
    "default": {
        "URL": REDIS_URL,
        "DEFAULT_TIMEOUT": 3600,
        "REDIS_CLIENT_KWARGS": BROKER_PATIENCE,
    }
}
RQ = {"WORKER_CLASS": "config.worker.Worker"}
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
    "staticfiles": {"BACKEND": "config.static.HashedStaticFiles"},
}

DATA_UPLOAD_MAX_MEMORY_SIZE = 20 * 1024 * 1024  # a manifest of some 100,000 files fits
FILE_UPLOAD_TEMP_DIR = TRAINYARD_HOME / "uploads"
FILE_UPLOAD_TEMP_DIR.mkdir(exist_ok=True)

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"one_line": {"()": "config.log_lines.OneLine"}},
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
