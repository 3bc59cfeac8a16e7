"""Every setting, read top to bottom; what differs between places comes from the environment."""

import os
import secrets
from pathlib import Path

from config import database, environment

BASE_DIR = Path(__file__).resolve().parent.parent
TRAINYARD_HOME = Path(environment.text("TRAINYARD_HOME", str(BASE_DIR / "var"))).resolve()
TRAINYARD_PORT = environment.number("TRAINYARD_PORT", 8000, low=1, high=65535)
TRAINYARD_URL = environment.text("TRAINYARD_URL", f"http://127.0.0.1:{TRAINYARD_PORT}").rstrip("/")
TRAINYARD_CA_BUNDLE = environment.text("TRAINYARD_CA_BUNDLE")
REDIS_URL = environment.text("REDIS_URL", f"unix://{TRAINYARD_HOME}/broker/valkey.sock")
DEBUG = environment.flag("DEBUG")


def _secret_key() -> str:
    """Take SECRET_KEY, or make one once and keep it where only we can read it."""
    given = environment.text("SECRET_KEY")
    if given:
        return given
    TRAINYARD_HOME.mkdir(parents=True, exist_ok=True)
    kept = TRAINYARD_HOME / "secret_key"
    try:
        with os.fdopen(os.open(kept, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_urlsafe(50))
    except FileExistsError:
        pass
    return kept.read_text()


SECRET_KEY = _secret_key()
ALLOWED_HOSTS = [
    host.strip()
    for host in environment.text("ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
    if host.strip()
]

INSTALLED_APPS = [
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.humanize",
    "django.contrib.messages",
    "django.contrib.sessions",
    "django.contrib.staticfiles",
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
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
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
            ]
        },
    }
]

DATABASES = {"default": database.settings_from(environment.text("DATABASE_URL"), TRAINYARD_HOME)}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
RQ_QUEUES = {"default": {"URL": REDIS_URL, "DEFAULT_TIMEOUT": 3600}}
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": "channels_redis.pubsub.RedisPubSubChannelLayer",
        "CONFIG": {"hosts": [REDIS_URL], "prefix": "trainyard"},
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
STATICFILES_DIRS = [BASE_DIR / "static"]
