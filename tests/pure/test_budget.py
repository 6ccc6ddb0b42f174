"""Connections to PostgreSQL: what all processes may have together is less than the server takes, however we start."""

import re

import pytest
from django.conf import settings

from personas_site import budget
from personas_site.budget import TooFew, check
from personas_site.embedded import postgres
from personas_site.embedded.services import WORKERS
from personas_site.embedded.workers import POOLS
from tests.pure.test_compose import COMMANDS, dockerfile

DEFAULTS = {"max_connections": 100, "superuser_reserved_connections": 3, "reserved_connections": 0}
EACH_TASK = 2  # connections: Django's, and the lock's
BEAT = 1


def workers_of(options: list[str]) -> int:
    """Tasks that a worker with these options runs at once."""
    return int(options[options.index("-c") + 1])


def test_make_up_fits_below_what_the_embedded_server_takes() -> None:
    limits = DEFAULTS | {"max_connections": int(postgres.settings()["max_connections"])}
    check(limits, processes=1, workers=settings.WORKER_CONNECTIONS)


def test_the_image_fits_below_what_a_server_takes_by_default() -> None:
    (processes,) = re.findall(r"PERSONAS_WEB_PROCESSES=(\d+)", " ".join(dockerfile("ENV")))
    check(DEFAULTS, processes=int(processes), workers=settings.WORKER_CONNECTIONS)


def test_the_workers_of_make_up_need_no_more_than_is_kept_for_them() -> None:
    tasks = sum(workers_of(POOLS.get(name.removeprefix("worker-"), ["-c", "1"])) for name in WORKERS if name != "beat")
    assert EACH_TASK * tasks + BEAT <= settings.WORKER_CONNECTIONS


def test_the_workers_of_compose_need_no_more_than_is_kept_for_them() -> None:
    tasks = sum(workers_of(argv) for argv in COMMANDS.values() if "worker" in argv)
    assert EACH_TASK * tasks + BEAT <= settings.WORKER_CONNECTIONS


def test_what_does_not_fit_is_refused_in_one_sentence_that_says_what_to_do() -> None:
    each = budget.PER_WEB_PROCESS
    fits = (DEFAULTS["max_connections"] - 3 - 52 - budget.COMMANDS) // each
    check(DEFAULTS, processes=fits, workers=52)
    with pytest.raises(TooFew) as refused:
        check(DEFAULTS, processes=fits + 1, workers=52)
    assert f"takes 97 connections, but Personas may need {(fits + 1) * each + 52 + budget.COMMANDS}" in str(
        refused.value
    )
    assert "PERSONAS_WEB_PROCESSES" in str(refused.value)
    with pytest.raises(TooFew):
        check(DEFAULTS | {"reserved_connections": 90}, processes=1, workers=0)
