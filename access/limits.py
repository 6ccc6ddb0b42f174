"""How often somebody may try: what is guessed, or sent to a mailbox, by account and by address."""

import logging

import redis
from django.http import HttpRequest
from django_ratelimit.core import get_usage

from access.services import address_of

logger = logging.getLogger(__name__)

PASSWORDS = "wrong passwords"
MAILS = "mails"
RATES = {PASSWORDS: ("10/5m", "50/5m"), MAILS: ("5/h", "30/h")}  # of one account; of one address, as offices share
TOO_OFTEN = "Too many tries. Wait a few minutes, then try again."


def is_exceeded(request: HttpRequest, what: str, account: str) -> bool:
    """Whether there were as many as may be."""
    return any(usage["count"] >= usage["limit"] for usage in _usages(request, what, account, increment=False))


def count(request: HttpRequest, what: str, account: str) -> None:
    """There was one more."""
    _usages(request, what, account, increment=True)


def _usages(request: HttpRequest, what: str, account: str, *, increment: bool) -> list[dict[str, int]]:
    """Of the account and of the address; none without Redis: nobody is locked out for its sake."""
    # Both: by the account alone one address tries every account, by the address alone many addresses try one.
    keys = (f"account {account.strip().lower()[:254]}", f"address {address_of(request)}")
    try:
        usages = [
            get_usage(request, group=what, key=lambda group, request, key=key: key, rate=rate, increment=increment)
            for key, rate in zip(keys, RATES[what], strict=True)
        ]
    except redis.RedisError as error:
        logger.warning("tries are not counted: %s", error)
        return []
    return [usage for usage in usages if usage]
