"""The few ways in which a request leaves: each opens for the calls of one destination, and closes after them."""

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

from destinations.models import Destination
from destinations.rules.contract import DestinationRequest
from destinations.transports import catcher, http, kafka, mysql, postgresql, s3, sftp
from spaces.answers import Answer

Call = Callable[[DestinationRequest], Answer]  # raises send_batch.Unanswered
Transport = Callable[[Destination, Any], AbstractContextManager[Call]]  # with its settings, secrets included

TRANSPORTS: dict[str, Transport] = {
    "http": http.calls,
    "catcher": catcher.calls,
    "postgresql": postgresql.calls,
    "mysql": mysql.calls,
    "s3": s3.calls,
    "sftp": sftp.calls,
    "kafka": kafka.calls,
}
