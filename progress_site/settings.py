"""All settings, every one of them from the environment.

``DATA_DIR`` (default ``var/`` beside ``manage.py``) holds what the program writes: the database, the thumbnails, the
collected static files and the secret key that ``make demo`` makes. Everything else has a default that is safe in
production, except the secret key, which has none.
"""

import logging
from pathlib import Path
from typing import Any

from corsheaders.defaults import default_headers
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP
from environs import Env

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()


def _data_dir() -> Path:
    """The folder ``DATA_DIR``, made where it is missing: nothing opens a database in a folder that is not there."""
    path = Path(env.str("DATA_DIR", str(BASE_DIR / "var"))).expanduser().resolve()
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ImproperlyConfigured(f"The data folder DATA_DIR={path} cannot be made: {error.strerror}.") from error
    return path


DATA_DIR = _data_dir()


def _secret_key() -> str:
    """The key from ``SECRET_KEY``, else from the file ``SECRET_KEY_FILE``; there is no default."""
    if key := env.str("SECRET_KEY", ""):
        return key
    path = Path(env.str("SECRET_KEY_FILE", str(DATA_DIR / "secret_key")))
    try:
        key = path.read_text().strip()
    except OSError:
        key = ""
    if not key:
        raise ImproperlyConfigured(f"Set SECRET_KEY, or put a key into {path} (`make demo` makes one).")
    return key


SECRET_KEY = _secret_key()
DEBUG = env.bool("DEBUG", False)
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
ALLOWED_ORIGINS: list[str] = env.list("ALLOWED_ORIGINS", [])
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [])

# --- Applications ---------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "django_htmx",
    "django_tasks_db",
    "ninja",
    "apps.datasets",
    "apps.progress",
    "apps.live",
    "apps.api",
    "apps.pipeline",
    "apps.pages",
    "apps.theme",
]
if DEBUG:
    # `runserver` with WebSockets, and the rebuilding of the stylesheet.
    INSTALLED_APPS = ["daphne", *INSTALLED_APPS, "tailwind"]

TAILWIND_APP_NAME = "apps.theme"

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
]

ROOT_URLCONF = "progress_site.urls"
ASGI_APPLICATION = "progress_site.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.template.context_processors.csp",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

# --- Database, tasks ------------------------------------------------------------------------------------------------

DATABASES: dict[str, dict[str, Any]] = {
    # By its path and not as a URL, in which `#`, `?` and `%` would mean something.
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(DATA_DIR / "progress.sqlite3")}
}
if env.str("DATABASE_URL", ""):
    DATABASES["default"] = dict(env.dj_db_url("DATABASE_URL"))
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # WAL lets readers go on while one writes. An immediate transaction takes the write lock when it begins, where
    # SQLite waits for it; a deferred one takes it at its first write, where SQLite refuses at once.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA mmap_size=134217728;",
    }
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # Without them a server that has vanished from the network holds up whoever asks for a quarter of an hour.
    lost = {"connect_timeout": 10, "keepalives_idle": 15, "keepalives_interval": 5, "tcp_user_timeout": 15_000}
    DATABASES["default"]["OPTIONS"] = {**lost, **DATABASES["default"].get("OPTIONS", {})}
# A thread keeps its connection, and threads last: see `progress_site.servers.threads`.
DATABASES["default"] |= {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The doorbell between processes. Empty: each web process finds by itself what others wrote.
REDIS_URL = env.str("REDIS_URL", "")

TASKS = {"default": {"BACKEND": "django_tasks_db.DatabaseBackend"}}


# --- People ---------------------------------------------------------------------------------------------------------

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": "django.contrib.auth.password_validation.UserAttributeSimilarityValidator"},
    {"NAME": "django.contrib.auth.password_validation.MinimumLengthValidator"},
    {"NAME": "django.contrib.auth.password_validation.CommonPasswordValidator"},
    {"NAME": "django.contrib.auth.password_validation.NumericPasswordValidator"},
]
SESSION_ENGINE = "progress_site.sessions"
LOGIN_URL = "login"
LOGIN_REDIRECT_URL = "/"
LOGOUT_REDIRECT_URL = "/"

# --- Transport security ---------------------------------------------------------------------------------------------

HTTPS = env.bool("HTTPS", False)
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", 3600 if HTTPS else 0)
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
SECURE_HSTS_PRELOAD = HTTPS
BEHIND_PROXY = env.bool("BEHIND_PROXY", False)
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# The pages of other front ends may read the API, on the terms on which they may open its sockets.
CORS_ALLOWED_ORIGINS = ALLOWED_ORIGINS
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_HEADERS = (*default_headers, "if-none-match")
CORS_EXPOSE_HEADERS = ("ETag",)

SECURE_CSP = {
    "default-src": [CSP.NONE],
    "script-src": [CSP.SELF, CSP.NONCE],
    "style-src": [CSP.SELF, CSP.NONCE],
    "img-src": [CSP.SELF, "data:"],
    "font-src": [CSP.SELF],
    "connect-src": [CSP.SELF],
    "form-action": [CSP.SELF],
    "base-uri": [CSP.NONE],
    "frame-ancestors": [CSP.NONE],
}

# --- Language, time, static files -----------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
TIME_ZONE = env.str("TIME_ZONE", "UTC")
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
# One file each, under its hashed name. Source maps, megabytes that no page asks for, are left as they are.
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = ("jpg", "jpeg", "png", "gif", "webp", "woff", "woff2", "map")
MEDIA_ROOT = DATA_DIR / "media"
# Where `manage.py build_client` puts the client package, which pages offer for installation.
CLIENT_DIST = DATA_DIR / "client"

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "{asctime} {levelname} {name}: {message}", "style": "{"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"flit_core": {"level": "WARNING"}},
    "root": {"handlers": ["console"], "level": env.log_level("LOG_LEVEL", logging.INFO)},
}

# --- This product ---------------------------------------------------------------------------------------------------

# Folders under which datasets may be created in the browser. Empty: nowhere. The command line is not bound by it.
IMPORT_ROOTS: list[str] = env.list("IMPORT_ROOTS", [])
# Dotted path of a class as described in apps/pipeline/images/embedders.py.
EMBEDDER = env.str("EMBEDDER", "apps.pipeline.images.embedders.ColourLayout")
# Images of more pixels than this are refused before they are decoded.
MAX_IMAGE_PIXELS = env.int("MAX_IMAGE_PIXELS", 120_000_000)
# Processes that index and embed; 0: one per core.
PIPELINE_PROCESSES = env.int("PIPELINE_PROCESSES", 0)
# A worker that has not been heard of for so long has lost its run to the next worker.
LEASE_SECONDS = env.float("LEASE_SECONDS", 15.0)
# Whether datasets that nobody said anything about may be seen by anyone who can open the site.
DATASETS_PUBLIC = env.bool("DATASETS_PUBLIC", True)
# Requests a second that one token may make of one web process, with bursts of five seconds' worth; 0: any number.
TOKEN_REQUESTS_A_SECOND = env.int("TOKEN_REQUESTS_A_SECOND", 100)
# Sockets that one address may have open with one web process; 0: any number.
SOCKETS_PER_ADDRESS = env.int("SOCKETS_PER_ADDRESS", 4000)
# How often a page asks for the bar where no WebSocket can be had.
BAR_POLL_SECONDS = env.float("BAR_POLL_SECONDS", 2.0)
