"""All settings, every one of them from the environment.

A setting is one call of `env`, with its name, default and bounds, under a comment of one or two lines that says what it
is. After a change run `make docs`: it writes the table in docs/deployment.md from those calls and comments.
Every default is safe in production. The secret key has none.
"""

import logging
import os
from pathlib import Path
from typing import Any

from corsheaders.defaults import default_headers
from django.core.exceptions import ImproperlyConfigured
from django.utils.csp import CSP
from environs import Env
from environs import validate as bounds

from progress_site.servers.door import MAX_BODY_BYTES
from progress_site.validators import absolute_paths, location, networks, origins, redis_url, site_url, time_zone

BASE_DIR = Path(__file__).resolve().parent.parent

env = Env()

# The folder of all that the program writes: database, thumbnails, static files, client package, secret key.
DATA_DIR = Path(env.str("DATA_DIR", str(BASE_DIR / "var"))).expanduser().resolve()
try:
    # SQLite opens no database in a folder that does not exist.
    DATA_DIR.mkdir(mode=0o700, parents=True, exist_ok=True)
except OSError as error:
    raise ImproperlyConfigured(f"The data folder DATA_DIR={DATA_DIR} cannot be made: {error.strerror}.") from error
if not os.access(DATA_DIR, os.W_OK | os.X_OK):
    raise ImproperlyConfigured(f"The data folder DATA_DIR={DATA_DIR} cannot be written to.")

# What this program writes is for its own account alone: images and history may be private, and the key is secret.
os.umask(0o077)
FILE_UPLOAD_PERMISSIONS = 0o600  # static files too

# The key that signs sessions and forms. Required, unless `SECRET_KEY_FILE` has it.
SECRET_KEY = env.str("SECRET_KEY", "")
# A file with the key, read where `SECRET_KEY` is empty.
SECRET_KEY_FILE = Path(env.str("SECRET_KEY_FILE", str(DATA_DIR / "secret_key")))
if not SECRET_KEY:
    try:
        SECRET_KEY = SECRET_KEY_FILE.read_text().strip()
    except OSError:
        SECRET_KEY = ""
    if not SECRET_KEY:
        raise ImproperlyConfigured(f"Set SECRET_KEY, or put a key into {SECRET_KEY_FILE} (`make demo` makes one).")

# Development mode: error pages with source code, and `runserver` with WebSockets. Never on a server that others reach.
DEBUG = env.bool("DEBUG", False)
# The host names under which the site is reached, separated by commas.
ALLOWED_HOSTS: list[str] = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"])
# The origins of other front ends that may read the API and open its sockets: `https://app.example.org`.
ALLOWED_ORIGINS: list[str] = env.list("ALLOWED_ORIGINS", [], validate=origins)
# The site's own origin, `https://progress.example.org`, where a proxy ends TLS.
CSRF_TRUSTED_ORIGINS: list[str] = env.list("CSRF_TRUSTED_ORIGINS", [])

# --- Applications ---------------------------------------------------------------------------------------------------

INSTALLED_APPS = [
    "progress_site.apps.SiteAdminConfig",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "corsheaders",
    "django_htmx",
    "django_tasks_db",
    "ninja",
    "apps.accounts",
    "apps.datasets",
    "apps.progress",
    "apps.batches",
    "apps.notifications",
    "apps.live",
    "apps.api",
    "apps.pipeline",
    "apps.simulation",
    "apps.pages",
    "apps.theme",
]
if DEBUG:
    # `runserver` with WebSockets, and the rebuilding of the stylesheet.
    INSTALLED_APPS = ["daphne", *INSTALLED_APPS, "tailwind"]

TAILWIND_APP_NAME = "apps.theme"

MIDDLEWARE = [
    "progress_site.middleware.answers",
    "django.middleware.security.SecurityMiddleware",
    "django.middleware.csp.ContentSecurityPolicyMiddleware",
    "corsheaders.middleware.CorsMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "apps.pages.access.SignInMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "progress_site.unavailable.OutageMiddleware",
    "apps.pages.middleware.DeletedMeanwhile",
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
                "apps.pages.access.rights",
            ],
        },
    },
]

# --- Database, tasks ------------------------------------------------------------------------------------------------

DATABASES: dict[str, dict[str, Any]] = {
    # A path and not a URL: `#`, `?` and `%` in it have no meaning.
    "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": str(DATA_DIR / "progress.sqlite3")}
}
# The address of a PostgreSQL database, `postgres://user:password@host/name`. Empty: SQLite in `DATA_DIR`.
if env.str("DATABASE_URL", ""):
    DATABASES["default"] = dict(env.dj_db_url("DATABASE_URL"))
if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3":
    # WAL lets readers go on while one process writes. An immediate transaction takes the write lock when it begins, and
    # SQLite waits for that lock. A deferred one takes it at its first write, and SQLite fails at once if it is taken.
    # The file is not mapped into memory. That would make a list 3 % faster, but each connection would map it anew, and
    # the process would grow by a multiple of the database.
    DATABASES["default"]["OPTIONS"] = {
        "transaction_mode": "IMMEDIATE",
        "timeout": 30,
        "init_command": "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;",
    }
if DATABASES["default"]["ENGINE"] == "django.db.backends.postgresql":
    # Without these timeouts, a query to a server that has vanished from the network hangs for 15 minutes.
    timeouts = {"connect_timeout": 10, "keepalives_idle": 15, "keepalives_interval": 5, "tcp_user_timeout": 15_000}
    DATABASES["default"]["OPTIONS"] = {**timeouts, **DATABASES["default"].get("OPTIONS", {})}
# How many requests that only read a web process answers at the same time, each over a database connection of its own.
# They begin one after the other; one that takes longer than 0.05 s lets the next begin beside it. Half as many requests
# that write are answered beside them. 0: 4 on SQLite, 16 on PostgreSQL.
REQUEST_THREADS = env.int("REQUEST_THREADS", 0, validate=bounds.Range(min=0)) or (
    4 if DATABASES["default"]["ENGINE"] == "django.db.backends.sqlite3" else 16
)
# A thread keeps its connection, and `progress_site.servers.threads` keeps the threads.
DATABASES["default"] |= {"CONN_MAX_AGE": 600, "CONN_HEALTH_CHECKS": True}

DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# The Redis server over which processes tell each other of changes, `redis://host:6379/0`. Empty: web processes look for
# changes in the database four times a second.
REDIS_URL = env.str("REDIS_URL", "", validate=redis_url)

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

# Whether browsers use HTTPS: secure cookies, a redirect from http, and HSTS.
HTTPS = env.bool("HTTPS", False)
SESSION_COOKIE_SECURE = HTTPS
CSRF_COOKIE_SECURE = HTTPS
SECURE_SSL_REDIRECT = HTTPS
# How long browsers remember to use HTTPS.
SECURE_HSTS_SECONDS = env.int("HSTS_SECONDS", 3600 if HTTPS else 0, validate=bounds.Range(min=0))
SECURE_HSTS_INCLUDE_SUBDOMAINS = HTTPS
# Whether to ask that browsers be shipped with this host and its subdomains as HTTPS alone, which is hard to take back.
SECURE_HSTS_PRELOAD = env.bool("HSTS_PRELOAD", False)
# There may be no preload, and no email: a site without `MAIL_HOST` offers none.
SILENCED_SYSTEM_CHECKS = ["security.W021", "mail.E001"]
# Whether to believe the headers `X-Forwarded-Proto` and `X-Forwarded-For`. Only behind a proxy that sets both.
BEHIND_PROXY = env.bool("BEHIND_PROXY", False)
if BEHIND_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")

# The origins that may open sockets may also read the API, with the user's cookies.
CORS_ALLOWED_ORIGINS = ALLOWED_ORIGINS
CORS_ALLOW_CREDENTIALS = True
CORS_URLS_REGEX = r"^/api/"
CORS_ALLOW_HEADERS = (*default_headers, "if-none-match")
CORS_EXPOSE_HEADERS = ("ETag", "Retry-After")

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

# Larger bodies are refused before they get here (`progress_site.servers.door`). None is written to a file.
DATA_UPLOAD_MAX_MEMORY_SIZE = FILE_UPLOAD_MAX_MEMORY_SIZE = MAX_BODY_BYTES

# --- Email ----------------------------------------------------------------------------------------------------------

# The mail server that sends notifications. Empty: this site sends no email.
MAIL_HOST = env.str("MAIL_HOST", "")
# Its port: 587 with STARTTLS, 465 with SSL.
MAIL_PORT = env.int("MAIL_PORT", 25, validate=bounds.Range(min=1, max=65_535))
# The account at the mail server, if it wants one.
MAIL_USER = env.str("MAIL_USER", "")
# And its password.
MAIL_PASSWORD = env.str("MAIL_PASSWORD", "")
# Whether the connection begins in the clear and is encrypted then (STARTTLS), usually on port 587.
MAIL_STARTTLS = env.bool("MAIL_STARTTLS", False)
# Whether it is encrypted from the start, usually on port 465.
MAIL_SSL = env.bool("MAIL_SSL", False)
# Whom email is from.
DEFAULT_FROM_EMAIL = env.str("MAIL_FROM", "dataset-progress@localhost")
MAILERS: dict[str, dict[str, Any]] = {"default": {"BACKEND": "django.core.mail.backends.dummy.EmailBackend"}}
if MAIL_HOST:
    MAILERS["default"] = {
        "BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "OPTIONS": {
            "host": MAIL_HOST, "port": MAIL_PORT, "username": MAIL_USER, "password": MAIL_PASSWORD,
            "use_tls": MAIL_STARTTLS, "use_ssl": MAIL_SSL, "timeout": 10,
        },
    }  # fmt: skip

# --- Language, time, static files -----------------------------------------------------------------------------------

LANGUAGE_CODE = "en"
# The time zone of the times that the server writes, in the admin and where a browser runs no script: `Europe/Berlin`.
TIME_ZONE = env.str("TIME_ZONE", "UTC", validate=time_zone)
USE_TZ = True

STATIC_URL = "/static/"
STATIC_ROOT = DATA_DIR / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "progress_site.static_files.StaticFilesStorage"},
}
# Keep each file once, under its hashed name. Source maps are large and no page loads them, so they stay uncompressed.
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
WHITENOISE_SKIP_COMPRESS_EXTENSIONS = ("jpg", "jpeg", "png", "gif", "webp", "woff", "woff2", "map")
MEDIA_ROOT = DATA_DIR / "media"
# Where `manage.py build_client` puts the client package, which pages offer for installation.
CLIENT_DIST = DATA_DIR / "client"

# The lowest level of messages that are logged: `DEBUG`, `INFO`, `WARNING`, `ERROR`.
LOG_LEVEL = env.log_level("LOG_LEVEL", logging.INFO)
LOGGING: dict[str, Any] = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "line": {
            "()": "apps.core.text.PrintableFormatter",
            "format": "{asctime} {levelname} {name}: {message}",
            "style": "{",
        }
    },
    "filters": {"outages": {"()": "apps.core.outages.OutageInOneLine"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line", "filters": ["outages"]}},
    "loggers": {
        "flit_core": {"level": "WARNING"},
        # They write addresses, which may hold passwords.
        "apprise": {"level": "CRITICAL"},
        "urllib3": {"level": "ERROR"},
        "django": {"level": LOG_LEVEL},
        "django.tasks": {"level": LOG_LEVEL},
        "django_tasks_db": {"level": "ERROR"},  # it warns of every signal that stops it
    },
    "root": {"handlers": ["console"], "level": LOG_LEVEL},
}

# --- This product ---------------------------------------------------------------------------------------------------

# The folders under which datasets may be created in the browser, separated by commas; for workers too. Empty: nowhere.
# The command line may use any folder.
IMPORT_ROOTS: list[str] = env.list("IMPORT_ROOTS", [], validate=absolute_paths)
# The folders into which links in a dataset's folder may lead, separated by commas; for workers and web processes.
FOLLOW_LINKS_TO: list[str] = env.list("FOLLOW_LINKS_TO", [], validate=absolute_paths)
# The class that computes embeddings, as a dotted path: [embedders](pipeline.md#embedders).
EMBEDDER = env.str("EMBEDDER", "apps.pipeline.images.embedders.ColourLayout")
# Images of more pixels are refused before they are decoded.
MAX_IMAGE_PIXELS = env.int("MAX_IMAGE_PIXELS", 120_000_000, validate=bounds.Range(min=1))
# Files of more bytes are refused before they are read.
MAX_IMAGE_BYTES = env.int("MAX_IMAGE_BYTES", 1 << 30, validate=bounds.Range(min=1))
# What becomes of an image of which a part cannot be decoded. keep: a sample that is marked. fail: a failed item.
DAMAGED = env.str("DAMAGED", "keep", validate=bounds.OneOf(["keep", "fail"]))
# After how many days samples whose files are gone are forgotten, with thumbnails and embeddings. 0: never.
FORGET_MISSING_AFTER_DAYS = env.int("FORGET_MISSING_AFTER_DAYS", 0, validate=bounds.Range(min=0, max=36_500))
# From which cosine of their embeddings on two samples are near-duplicates. Over 1: they are not searched for.
NEAR_DUPLICATES = env.float("NEAR_DUPLICATES", 0.97, validate=bounds.Range(min=0.5, max=2))
# How many failed items of a run are listed. The others are counted by reason.
MOST_FAILURES = env.int("MOST_FAILURES", 10_000, validate=bounds.Range(min=1))
# How many processes of a worker index and embed. 0: one per core.
PIPELINE_PROCESSES = env.int("PIPELINE_PROCESSES", 0, validate=bounds.Range(min=0))
# How many seconds an image may take to be read or embedded. Its process is then killed, and the image is a failure.
ITEM_SECONDS = env.float("ITEM_SECONDS", 300.0, validate=bounds.Range(min=0, min_inclusive=False))
# How many images a second a run processes at most, so that one can watch it. 0: as many as it can.
PACE = env.int("PACE", 0, validate=bounds.Range(min=0))
# After how many seconds without a sign of life a worker loses its run to another.
LEASE_SECONDS = env.float("LEASE_SECONDS", 15.0, validate=bounds.Range(min=0, min_inclusive=False))
# Over how many seconds a run is compared with what it usually does: it is slow at less than a quarter. At least four of
# its steps.
SLOW_AFTER = env.float("SLOW_AFTER", 15.0, validate=bounds.Range(min=0, min_inclusive=False))
# After how many seconds without a higher count a run that gives signs of life is stalled; at least ten of its steps.
STALLED_AFTER = env.float("STALLED_AFTER", 60.0, validate=bounds.Range(min=0, min_inclusive=False))
# After how many seconds without a sign of life a run or a worker is silent; at least six times the usual wait for one.
SILENT_AFTER = env.float("SILENT_AFTER", 30.0, validate=bounds.Range(min=0, min_inclusive=False))
# After how many seconds without a sign of life a run is lost; at least twenty times the usual wait for one.
LOST_AFTER = env.float("LOST_AFTER", 120.0, validate=bounds.Range(min=0, min_inclusive=False))
# After how many hours without a sign of life a worker process ends a run in error. Its reporter takes that back when it
# is heard again. 0: never.
END_LOST_AFTER = env.float("END_LOST_AFTER", 0.0, validate=bounds.Range(min=0))
# For how many days a finished run keeps its lists: failed items, history, messages, workers. A dataset's latest run
# keeps them. 0: for ever.
KEEP_DETAILS_DAYS = env.int("KEEP_DETAILS_DAYS", 90, validate=bounds.Range(min=0, max=36_500))
# For how many days a finished run is kept. A dataset's latest run is always kept. 0: for ever.
KEEP_RUNS_DAYS = env.int("KEEP_RUNS_DAYS", 730, validate=bounds.Range(min=0, max=36_500))
# For how many days the queue keeps what it has done. 0: for ever.
KEEP_TASKS_DAYS = env.int("KEEP_TASKS_DAYS", 7, validate=bounds.Range(min=0, max=36_500))
# For how many days a token is kept that was revoked or has expired. 0: for ever.
KEEP_TOKENS_DAYS = env.int("KEEP_TOKENS_DAYS", 90, validate=bounds.Range(min=0, max=36_500))
# Whether a dataset whose visibility was not chosen is public: seen by anyone who can reach this site.
DATASETS_PUBLIC = env.bool("DATASETS_PUBLIC", True)
# Whether all pages, the API, sockets and files are closed to those who are not signed in and have no token.
SIGN_IN_REQUIRED = env.bool("SIGN_IN_REQUIRED", False)
# Whether every user may add datasets, on pages and with tokens. Off: those with the permission "Can add dataset".
USERS_MAY_ADD_DATASETS = env.bool("USERS_MAY_ADD_DATASETS", True)
# How many datasets one user may own; staff are not counted. 0: no limit.
DATASETS_PER_USER = env.int("DATASETS_PER_USER", 0, validate=bounds.Range(min=0))
# The address under which people reach this site, `https://progress.example.org`: notifications link to it. Empty: they
# have no links.
SITE_URL = env.str("SITE_URL", "", validate=site_url)
# Private networks to which users may send notifications, `10.1.0.0/16`, separated by commas. Public ones are always
# allowed, and no others.
WEBHOOK_PRIVATE_NETWORKS: list[str] = env.list("WEBHOOK_PRIVATE_NETWORKS", [], validate=networks)
# For how many days notifications are kept that were sent. 0: for ever.
KEEP_NOTIFICATIONS_DAYS = env.int("KEEP_NOTIFICATIONS_DAYS", 30, validate=bounds.Range(min=0, max=36_500))
# The internal location of nginx that serves files instead of this program, such as `/files/`:
# [how](#behind-nginx). Empty: this program serves them.
X_ACCEL_REDIRECT = env.str("X_ACCEL_REDIRECT", "", validate=location)
# Requests per second that one token may make of one web process, with bursts of five times as many. 0: no limit.
TOKEN_REQUESTS_A_SECOND = env.int("TOKEN_REQUESTS_A_SECOND", 100, validate=bounds.Range(min=0))
# Reads per second that one address may make of one web process without a token and an account, with bursts of five
# times as many: a request of the API, 20 rows that it asks for, or 20 datasets that a socket asks for. 0: no limit.
READS_PER_ADDRESS = env.int("READS_PER_ADDRESS", 200, validate=bounds.Range(min=0))
# WebSockets that one address may have open with one web process. 0: no limit.
SOCKETS_PER_ADDRESS = env.int("SOCKETS_PER_ADDRESS", 4000, validate=bounds.Range(min=0))
# How often a page without a WebSocket asks for its bar.
BAR_POLL_SECONDS = env.float("BAR_POLL_SECONDS", 2.0, validate=bounds.Range(min=0, min_inclusive=False))
