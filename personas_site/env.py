"""Settings from the environment: a value, or a file that holds it (`NAME_FILE`)."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import parse_qsl, unquote, urlsplit

from django.core.exceptions import ImproperlyConfigured

Value = TypeVar("Value")


class WrongSetting(ImproperlyConfigured):
    """The message names the setting, tells the administrator what it must be, and holds no password."""


def text(name: str, default: str = "") -> str:
    path = os.environ.get(f"{name}_FILE")
    return Path(path).read_text().strip() if path else os.environ.get(name, default)


def read(name: str, parse: Callable[[str], Value], default: str = "") -> Value:
    """What `parse` makes of it. Raises WrongSetting with the words of its ValueError."""
    try:
        return parse(text(name, default))
    except (ValueError, OSError) as error:  # OSError: the file that it names
        raise WrongSetting(f"{name}: {error}") from error


def number(name: str, default: int) -> int:
    """A whole number, not below 0."""

    def parse(given: str) -> int:
        if not given.strip().isdecimal():
            raise ValueError(f"must be a whole number, not {given!r}")
        return int(given)

    return read(name, parse, str(default))


def url(name: str, schemes: tuple[str, ...]) -> str:
    """An address with one of these schemes; "" when there is none."""

    def parse(given: str) -> str:
        if given and (urlsplit(given).scheme not in schemes or "://" not in given):
            raise ValueError(f"must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
        return given

    return read(name, parse)


def flag(name: str, default: bool = False) -> bool:
    return text(name, "1" if default else "0").lower() in {"1", "true", "yes", "on"}


def words(name: str, default: str = "") -> list[str]:
    return [word.strip() for word in text(name, default).split(",") if word.strip()]


def mail(url: str) -> dict[str, object]:
    """Django's settings for smtp://user:password@host:port, or smtps:// for TLS from the first byte.

    `?tls=no` sends in clear; otherwise smtp:// begins with STARTTLS. "" = mails are written to files.
    """
    if not url:
        return {"EMAIL_BACKEND": "django.core.mail.backends.filebased.EmailBackend"}
    parts, secure = urlsplit(url), urlsplit(url).scheme == "smtps"
    if parts.scheme not in ("smtp", "smtps") or not parts.hostname:
        raise ValueError("PERSONAS_SMTP_URL is smtp://user:password@host:port, or smtps://…")
    return {
        "EMAIL_BACKEND": "django.core.mail.backends.smtp.EmailBackend",
        "EMAIL_HOST": parts.hostname,
        "EMAIL_PORT": parts.port or (465 if secure else 587),
        "EMAIL_HOST_USER": unquote(parts.username or ""),
        "EMAIL_HOST_PASSWORD": unquote(parts.password or ""),
        "EMAIL_USE_SSL": secure,
        "EMAIL_USE_TLS": not secure and dict(parse_qsl(parts.query)).get("tls") != "no",
        "EMAIL_TIMEOUT": 10,  # seconds
    }


def database(url: str) -> dict[str, object]:
    """Django's settings for postgresql://user:password@host:port/name?option=value (a host may be a folder)."""
    parts = urlsplit(url)
    options = {"connect_timeout": "5"} | dict(parse_qsl(parts.query))
    return {
        "ENGINE": "personas_site.postgresql",
        "NAME": unquote(parts.path.lstrip("/")),
        "USER": unquote(parts.username or ""),
        "PASSWORD": unquote(parts.password or ""),
        "HOST": options.pop("host", parts.hostname or ""),
        "PORT": str(parts.port or ""),
        "OPTIONS": options,
        "CONN_MAX_AGE": 600,
        "CONN_HEALTH_CHECKS": True,
    }
