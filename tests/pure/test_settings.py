"""A setting that cannot be is refused at the start, by its name, with what it must be and without a password."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]


def said(tmp_path, **settings):
    """The status of a process that only reads its settings, and what it says of them."""
    environ = os.environ | {"PERSONAS_HOME": str(tmp_path)} | settings
    command = [sys.executable, "manage.py", "check"]
    done = subprocess.run(command, cwd=PROJECT, env=environ, capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.strip()


@pytest.mark.parametrize(
    ("name", "value", "must"),
    [
        ("PERSONAS_WEB_PROCESSES", "two", "must be a whole number, not 'two'"),
        ("PERSONAS_KEEP_EVENTS_DAYS", "-1", "must be a whole number, not '-1'"),
        ("DATABASE_URL", "mysql://me:hunter2@db/personas", "must begin with postgresql:// or postgres://"),
        ("CLICKHOUSE_URL", "tcp://me:hunter2@ch:9000", "must begin with http:// or https://"),
        ("REDIS_URL", "hunter2", "must begin with redis:// or rediss:// or redis+socket://"),
        ("PERSONAS_FIELD_KEYS", "hunter2", "key 1 of 1 is none: 32 bytes in URL-safe base64"),
        ("PERSONAS_LIMITS", "{", "Input data was truncated"),
        ("PERSONAS_SMTP_URL", "mail.example.com", "PERSONAS_SMTP_URL is smtp://user:password@host:port, or smtps://…"),
        ("DATABASE_URL_FILE", "/nowhere/at/all", "No such file or directory"),
    ],
)
def test_it_is_refused_in_one_line(tmp_path, name, value, must):
    status, line = said(tmp_path, **{name: value})
    assert status == 1
    assert line.startswith(f"personas: {name.removesuffix('_FILE')}: ")
    assert must in line
    assert "\n" not in line
    assert "hunter2" not in line
