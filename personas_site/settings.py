"""All settings, from the environment. The code knows three stores by URL; one that is not set is embedded."""

from pathlib import Path

from django.utils.log import CallbackFilter

from personas_site import env
from personas_site.embedded.paths import Paths
from personas_site.secrets import field_keys, kept_secret
from spaces.limits import Limits

BASE_DIR = Path(__file__).resolve().parent.parent
PERSONAS_HOME = Path(env.text("PERSONAS_HOME") or BASE_DIR / "var").resolve()
PATHS = Paths(PERSONAS_HOME)

POSTGRESQL = ("postgresql", "postgres")
DATABASE_URL = env.url("DATABASE_URL", POSTGRESQL) or PATHS.database_url
# Who owns the tables. The application never connects as this role; only `manage.py prepare` does.
DATABASE_OWNER_URL = env.url("DATABASE_OWNER_URL", POSTGRESQL) or (
    DATABASE_URL if env.text("DATABASE_URL") else PATHS.database_owner_url
)
CLICKHOUSE_URL = env.url("CLICKHOUSE_URL", ("http", "https")) or PATHS.clickhouse_url
CLICKHOUSE_ENGINE = env.text("CLICKHOUSE_ENGINE", "MergeTree")
# Into one table of ClickHouse, over all owners: it merges what few large inserts bring, and drowns in many small ones.
INSERTS_PER_SECOND = env.number("PERSONAS_INSERTS_PER_SECOND", 10)
REDIS_URL = env.url("REDIS_URL", ("redis", "rediss", "redis+socket")) or PATHS.redis_url
REDIS_CACHE_URL = env.text("REDIS_URL") or PATHS.redis_cache_url

# The disk of the embedded stores, and how many of its bytes stay free: see spaces/disk_space.py.
DISK = None if env.text("DATABASE_URL") and env.text("CLICKHOUSE_URL") else PERSONAS_HOME
DISK_RESERVE = env.number("PERSONAS_DISK_RESERVE_MB", 256) << 20

DEBUG = env.flag("PERSONAS_DEBUG")
SECRET_KEY = env.text("PERSONAS_SECRET_KEY") or kept_secret(PERSONAS_HOME, "secret.key")
# Encrypt settings of destinations. The first key encrypts, all decrypt, so that keys can be rotated.
FIELD_KEYS = env.read("PERSONAS_FIELD_KEYS", field_keys) or [kept_secret(PERSONAS_HOME, "field.key")]
ALLOWED_HOSTS = env.words("PERSONAS_HOSTS", "127.0.0.1,localhost,[::1]")
CSRF_TRUSTED_ORIGINS = env.words("PERSONAS_ORIGINS")
SECURE_COOKIES = env.flag("PERSONAS_HTTPS")
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = SECURE_COOKIES
SESSION_COOKIE_AGE = 7 * 24 * 3600
SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https") if SECURE_COOKIES else None

# What one workspace may take: events a second, and what a statement of ClickHouse may cost.
LIMITS = env.read("PERSONAS_LIMITS", Limits)
# Private addresses that the one door out may reach, as host:port. For tests and closed networks.
OUTBOUND_ALLOW = env.words("PERSONAS_OUTBOUND_ALLOW")
SQL_TRAIT_ROWS = env.number("PERSONAS_SQL_TRAIT_ROWS", 1_000_000)
IMPORT_MB = env.number("PERSONAS_IMPORT_MAX_MB", 1_000)  # of a file that is imported, in UTF-8
KEEP_IMPORTED_DAYS = env.number("PERSONAS_KEEP_IMPORTED_DAYS", 30)  # the file of an import that has ended
KEEP_EVENTS_DAYS = env.number("PERSONAS_KEEP_EVENTS_DAYS", 3 * 365)  # of a source that says nothing else
KEEP_REJECTS_DAYS = env.number("PERSONAS_KEEP_REJECTS_DAYS", 30)
KEEP_DELIVERIES_DAYS = env.number("PERSONAS_KEEP_DELIVERIES_DAYS", 90)
KEEP_CHANGES_DAYS = env.number("PERSONAS_KEEP_CHANGES_DAYS", 400)  # who entered and left, and who changed what
DEDUP_DAYS = env.number("PERSONAS_DEDUP_DAYS", 30)  # how long a message id is remembered at least
MAIL_FOLDER = PERSONAS_HOME / "mail"

INSTALLED_APPS = [
    "personas_site",
    "console",
    "privacy",
    "profiles_sync",
    "destinations",
    "audiences",
    "imports",
    "identity",
    "sources",
    "alerts",
    "access",
    "spaces",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "django.contrib.humanize",
    "django.contrib.postgres",
    "guardian",
    "rest_framework",
    "drf_spectacular",
    "drf_spectacular_sidecar",
    "django_htmx",
    "js_lib_bootstrap5",
]
MIDDLEWARE = [
    "personas_site.logs.RequestId",
    "django.middleware.security.SecurityMiddleware",
    "personas_site.headers.ContentPolicy",
    "personas_site.headers.OfClients",
    "personas_site.headers.NoNul",
    "personas_site.headers.ReaderZone",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
    "django_htmx.middleware.HtmxMiddleware",
    "access.gate.GateMiddleware",
]
ROOT_URLCONF = "personas_site.urls"
CSRF_FAILURE_VIEW = "personas_site.errors.csrf_failed"
APPEND_SLASH = False  # a redirect on an ingest path loses events without an error
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
                "console.pages.navigation.frame",
            ]
        },
    }
]

DATABASES = {"default": env.database(DATABASE_URL), "owner": env.database(DATABASE_OWNER_URL)}
WEB_PROCESSES = env.number("PERSONAS_WEB_PROCESSES", 1)
# Kept for the workers, however much the web has to do (personas_site.budget).
WORKER_CONNECTIONS = env.number("PERSONAS_WORKER_CONNECTIONS", 52)
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
# What waits to be archived, as it was sent: beyond it collect answers 503, for all or for the one source.
INBOX_MAX_BYTES = env.number("PERSONAS_INBOX_MAX_MB", 4096) * 1024 * 1024
INBOX_SOURCE_MAX_BYTES = env.number("PERSONAS_INBOX_SOURCE_MAX_MB", 2048) * 1024 * 1024

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": REDIS_CACHE_URL,
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},  # one that hangs must not hold collect up
    }
}

AUTH_USER_MODEL = "access.User"
AUTHENTICATION_BACKENDS = [
    "django.contrib.auth.backends.ModelBackend",
    "guardian.backends.ObjectPermissionBackend",
]
ANONYMOUS_USER_NAME = None
PASSWORD_HASHERS = [
    "django.contrib.auth.hashers.Argon2PasswordHasher",
    "django.contrib.auth.hashers.PBKDF2PasswordHasher",
]
AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in ("UserAttributeSimilarityValidator", "MinimumLengthValidator", "CommonPasswordValidator")
]
PASSWORD_RESET_TIMEOUT = 3600  # seconds
LOGIN_URL = "sign-in"
LOGIN_REDIRECT_URL = "home"
LOGOUT_REDIRECT_URL = "sign-in"

globals().update(env.read("PERSONAS_SMTP_URL", env.mail))
EMAIL_FILE_PATH = MAIL_FOLDER
DEFAULT_FROM_EMAIL = env.text("PERSONAS_MAIL_FROM", "personas@localhost")

USE_TZ = True
TIME_ZONE = "UTC"
USE_I18N = True
USE_THOUSAND_SEPARATOR = True

STATIC_URL = "/static/"
STATIC_ROOT = PERSONAS_HOME / "static"
STATICFILES_DIRS = [BASE_DIR / "static"]
CLIENT_SCRIPTS = BASE_DIR / "assets" / "node_modules"  # of client libraries for web pages, by `make assets`
STORAGES = {
    "default": {"BACKEND": "django.core.files.storage.FileSystemStorage"},
    "staticfiles": {"BACKEND": "whitenoise.storage.CompressedManifestStaticFilesStorage"},
}
WHITENOISE_KEEP_ONLY_HASHED_FILES = True
WHITENOISE_USE_FINDERS = WHITENOISE_AUTOREFRESH = DEBUG

DATA_UPLOAD_MAX_NUMBER_FIELDS = 10_000  # the largest audience, as a form: 500 conditions of up to a dozen fields
DATA_UPLOAD_MAX_MEMORY_SIZE = 6 * 1024 * 1024  # collect refuses bodies over 5 MB itself, with its own answer

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["access.authentication.BearerToken"],
    "DEFAULT_PERMISSION_CLASSES": ["access.gate.Needed"],
    "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": ["access.api.parsers.Json"],
    "DEFAULT_METADATA_CLASS": "access.api.metadata.Metadata",
    "DEFAULT_SCHEMA_CLASS": "access.api.schema.Schema",
    "EXCEPTION_HANDLER": "drf_standardized_errors.handler.exception_handler",
    "UNAUTHENTICATED_USER": None,
}
DRF_STANDARDIZED_ERRORS = {
    "EXCEPTION_HANDLER_CLASS": "access.api.errors.ErrorHandler",
    "EXCEPTION_FORMATTER_CLASS": "access.api.errors.ErrorFormatter",
    "ALLOWED_ERROR_STATUS_CODES": ["400", "401", "403", "404", "422", "default"],
    "ERROR_SCHEMAS": dict.fromkeys(("400", "401", "403", "404", "422", "default"), "access.api.serializers.Errors"),
}
SPECTACULAR_SETTINGS = {
    "TITLE": "Personas API",
    "VERSION": "1",
    "OAS_VERSION": "3.1.0",
    "SERVE_INCLUDE_SCHEMA": False,
    "COMPONENT_SPLIT_PATCH": False,
    # Choices stay where they are used: several kinds are called "kind".
    "POSTPROCESSING_HOOKS": ["access.api.schema.with_examples"],
    "SWAGGER_UI_DIST": "SIDECAR",
    "SWAGGER_UI_FAVICON_HREF": "SIDECAR",
}

CELERY_BROKER_URL = REDIS_URL
CELERY_TASK_IGNORE_RESULT = True
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None  # for ever: a worker outlives its broker
# A wake-up that a worker took and did not finish is not given back: beat makes up for it. (To give it back while the
# broker is away ends the worker.)
CELERY_BROKER_TRANSPORT_OPTIONS = {"ack_emulation": False, "socket_timeout": 5, "socket_connect_timeout": 2}
CELERY_TASK_PUBLISH_RETRY = False  # a wake-up that cannot be sent is made up for by beat

ALERT_KINDS = ["audiences.alert_kinds", "destinations.alert_kinds"]  # folders of what alerts can watch for

METRICS_TOKEN = env.text("PERSONAS_METRICS_TOKEN")  # who may read /metrics; without it this machine alone

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"()": "personas_site.logs.Lines"}, "json": {"()": "personas_site.logs.JsonLines"}},
    "handlers": {
        "stderr": {
            "class": "logging.StreamHandler",
            "formatter": env.text("PERSONAS_LOG_FORMAT", "line"),
            "filters": ["secretless"],
        }
    },
    "root": {"handlers": ["stderr"], "level": env.text("PERSONAS_LOG_LEVEL", "INFO")},
    # A 503 is an answer that we chose to give, perhaps to thousands a second; who gives it says why.
    "filters": {
        "secretless": {"()": "personas_site.logs.Secretless"},
        "unforeseen": {"()": CallbackFilter, "callback": lambda record: getattr(record, "status_code", 0) != 503},
    },
    "loggers": {"httpx": {"level": "WARNING"}, "django.request": {"filters": ["unforeseen"]}},
}
