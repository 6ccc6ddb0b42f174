"""The delivery log: a line in ClickHouse for each change on each call that was made."""

import logging
from collections.abc import Mapping, Sequence
from datetime import datetime

import pyarrow
from django.conf import settings

from destinations.calls import DecidedCall, FilteredCall, message_id
from destinations.models import Subscription
from destinations.rules.send_batch import SentBatch
from sources.events import client
from sources.events.schema import DELIVERY_LOG
from spaces.rates import pace
from spaces.times import milliseconds

logger = logging.getLogger(__name__)

AFTER_CALLS = 1_000_000  # far more lines than a batch has
INSERTS = client.Joined(DELIVERY_LOG)  # many subscriptions are served at once
COLUMNS = pyarrow.schema(
    {
        "workspace": pyarrow.uint32(),
        "space": pyarrow.uint32(),
        "subscription": pyarrow.uint32(),
        "piece": pyarrow.uint64(),
        "position": pyarrow.uint32(),
        "at": pyarrow.timestamp("ms", tz="UTC"),
        "identifier": pyarrow.uint32(),
        "profile": pyarrow.uint32(),
        "entering": pyarrow.uint8(),
        "message_id": pyarrow.string(),
        "outcome": pyarrow.string(),
        "status": pyarrow.uint16(),
        "milliseconds": pyarrow.float32(),
        "request": pyarrow.string(),
        "response": pyarrow.string(),
        "reason": pyarrow.string(),
    }
)


def log_attempts(
    subscription: Subscription, calls: Sequence[DecidedCall], batch: SentBatch, number: int, now: datetime
) -> None:
    """One line per change and call, under the batch's number. batch: without secrets.

    A failure here is reported and not raised: what was sent would be sent once more.
    """
    by_id = {message_id(subscription, call): call for call in calls}
    lines: list[dict[str, object]] = []
    for attempt in batch.attempts:
        request = attempt.request
        for index, (change, outcome) in enumerate(zip(request.rows, attempt.outcomes, strict=True)):
            call = by_id[change.id]
            lines.append(
                {
                    "workspace": subscription.workspace_id,
                    "space": subscription.space_id,
                    "subscription": subscription.pk,
                    "piece": number,
                    "position": len(lines),
                    "at": milliseconds(now),
                    "identifier": call.identifier,
                    "profile": call.profile,
                    "entering": int(call.entering),
                    # The id that the receiver saw: of one that carries many, each change has its own.
                    "message_id": request.id if len(request.rows) == 1 else change.id,
                    "outcome": outcome.kind,
                    "status": attempt.status,
                    "milliseconds": attempt.milliseconds,
                    # What went out for many is kept once, with the first of them.
                    "request": request.shown if index == 0 else "",
                    "response": attempt.response if index == 0 else "",
                    "reason": outcome.reason,
                }
            )
    _keep(subscription, lines)


def log_filtered(subscription: Subscription, filtered: Sequence[FilteredCall], number: int, now: datetime) -> None:
    """One line for each identifier that did not go. Positions are after those of the calls of the same batch."""
    _keep(
        subscription,
        [
            {
                "workspace": subscription.workspace_id,
                "space": subscription.space_id,
                "subscription": subscription.pk,
                "piece": number,
                "position": AFTER_CALLS + place,
                "at": milliseconds(now),
                "identifier": row.identifier,
                "profile": row.profile,
                "entering": 1,
                "message_id": f"{subscription.public_id}-{row.identifier}-filtered-{number}",
                "outcome": "filtered",
                "status": 0,
                "milliseconds": 0.0,
                "request": "",
                "response": "",
                "reason": row.reason,
            }
            for place, row in enumerate(filtered)
        ],
    )


def _keep(subscription: Subscription, lines: Sequence[Mapping[str, object]]) -> None:
    try:
        INSERTS.insert(
            pyarrow.Table.from_pylist(lines, schema=COLUMNS),
            lambda: pace(f"insert:{DELIVERY_LOG.name}", rate=settings.INSERTS_PER_SECOND),
        )
    except Exception:
        logger.exception("sync %s: %d lines of the delivery log are lost", subscription.pk, len(lines))
