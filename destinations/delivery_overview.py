"""What became of everything that was to be sent in a while: how many were filtered, delivered, wait or failed, and why.

What is counted are messages: a change of one identifier, in one call. One that was tried five times counts once, by
what its newest attempt came to.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from destinations import queries
from destinations.models import Subscription
from sources.events import client
from sources.events.schema import DELIVERY_LOG
from sources.events.sql import Sql, sql
from spaces import personal
from spaces.models import Space

MOST_REASONS = 20
SAMPLES = 3  # identifiers of each reason
RATED_OVER = timedelta(minutes=5)
LONGEST_REASON = 200  # characters: what differs only after them is one reason


@dataclass(frozen=True)
class OverviewRange:
    """How far an overview goes back, and how long what each bar of its chart counts lasts."""

    label: str
    length: timedelta
    step: timedelta


RANGES = {
    "10m": OverviewRange("10 minutes", timedelta(minutes=10), timedelta(minutes=1)),
    "1h": OverviewRange("1 hour", timedelta(hours=1), timedelta(minutes=5)),
    "1d": OverviewRange("1 day", timedelta(days=1), timedelta(hours=1)),
    "1w": OverviewRange("1 week", timedelta(days=7), timedelta(hours=6)),
    "2w": OverviewRange("2 weeks", timedelta(days=14), timedelta(hours=12)),
    "4w": OverviewRange("4 weeks", timedelta(days=28), timedelta(days=1)),
}


@dataclass(frozen=True)
class FailureReason:
    """Messages with the same outcome and the same words. samples: {"type", "value"} of some identifiers."""

    outcome: str
    reason: str
    messages: int
    newest_at: datetime
    samples: Sequence[dict[str, str]]


@dataclass(frozen=True)
class DeliveryBucket:
    """What was tried from `at` on, for one step of the range."""

    at: datetime
    delivered: int
    other: int


@dataclass(frozen=True)
class CallLatency:
    """Milliseconds that half, 95 % and 99 % of the answered calls took at most."""

    p50: float
    p95: float
    p99: float


@dataclass(frozen=True)
class DeliveryOverview:
    """Messages by stage: all of them are filtered or mapped; what is mapped is delivered, retrying or failed.

    latency: None when no call was answered.
    """

    since: datetime
    entered: int
    filtered: int
    mapped: int
    delivered: int
    retrying: int
    failed: int
    reasons: Sequence[FailureReason]
    latency: CallLatency | None
    buckets: Sequence[DeliveryBucket]


def delivery_overview(
    space: Space, subscriptions: Sequence[int], *, chosen: OverviewRange, now: datetime
) -> DeliveryOverview:
    """Of these subscriptions. Four statements at most, however many they are."""
    step, since = int(chosen.step.total_seconds()), overview_since(chosen, now)
    where = queries.log_of(space, subscriptions, since=since)
    # The newest attempt of each message counts: one that was tried five times is one message.
    newest = sql(
        "(SELECT subscription, message_id, argMax((outcome, reason, identifier), (at, piece, position)) AS last,"
        f" max(at) AS newest_at FROM {DELIVERY_LOG.name} WHERE %s GROUP BY subscription, message_id)",
        where,
    )
    counts = {row[0]: int(row[1]) for row in client.rows(sql("SELECT last.1, count() FROM %s GROUP BY 1", newest))}
    # Two outcomes are a failure: refused for good, and suspended until somebody changes the settings.
    filtered, failed = counts.get("filtered", 0), counts.get("refused", 0) + counts.get("suspended", 0)
    everything = sum(counts.values())
    # What got no answer has no latency: it has a timeout, which says nothing of the destination.
    measured = "SELECT quantiles(0.5, 0.95, 0.99)(milliseconds), count()"
    ((quantiles, answered),) = client.rows(sql(f"{measured} FROM {DELIVERY_LOG.name} WHERE %s AND status > 0", where))
    return DeliveryOverview(
        since=since,
        entered=everything,
        filtered=filtered,
        mapped=everything - filtered,
        delivered=counts.get("delivered", 0),
        retrying=counts.get("retry", 0),
        failed=failed,
        reasons=_reasons(space, newest) if everything > counts.get("delivered", 0) else [],
        latency=CallLatency(*quantiles) if answered else None,
        buckets=_buckets(where, since, step, now),
    )


def overview_since(chosen: OverviewRange, now: datetime) -> datetime:
    """Where the range begins: at a whole step, so that a bar counts the same whenever one looks."""
    step = int(chosen.step.total_seconds())
    return datetime.fromtimestamp((int((now - chosen.length).timestamp()) // step + 1) * step, UTC)


def delivered_a_minute(space: Space, subscriptions: Sequence[int], now: datetime) -> dict[int, float]:
    """By primary key, how many identifiers a minute were acknowledged lately; only where there were any."""
    if not subscriptions:
        return {}
    where = queries.log_of(space, subscriptions, since=now - RATED_OVER)
    rows = client.rows(
        sql(
            # Different identifiers: one that flips to and fro is no progress.
            f"SELECT subscription, uniqExact(identifier) FROM {DELIVERY_LOG.name}"
            " WHERE %s AND outcome = 'delivered' GROUP BY subscription",
            where,
        )
    )
    return {subscription: count / (RATED_OVER / timedelta(minutes=1)) for subscription, count in rows}


def time_left(row: Subscription, rate: float) -> timedelta | None:
    """How long it takes, at so many identifiers a minute, until all are acknowledged; None when nobody can say."""
    counts = row.counts
    left = abs(counts.get("desired", 0) - counts.get("acknowledged", 0)) + counts.get("maybe", 0)
    return timedelta(minutes=left / rate) if rate and left else None


def _reasons(space: Space, newest: Sql) -> list[FailureReason]:
    """What is not delivered, by its outcome and the first words of the reason; the most frequent first."""
    rows = client.rows(
        sql(
            f"SELECT last.1, substringUTF8(last.2, 1, {LONGEST_REASON}), count() AS many, max(newest_at),"
            f" groupArray({SAMPLES})(last.3) FROM %s WHERE last.1 != 'delivered'"
            f" GROUP BY 1, 2 ORDER BY many DESC, 2 LIMIT {MOST_REASONS}",
            newest,
        )
    )
    names = queries.named_identifiers(space, [number for row in rows for number in row[4]])
    return [
        FailureReason(
            outcome,
            personal.text(reason),
            messages,
            at.replace(tzinfo=UTC),
            [names[number] for number in numbers if number in names],
        )
        for outcome, reason, messages, at, numbers in rows
    ]


def _buckets(where: Sql, since: datetime, step: int, now: datetime) -> list[DeliveryBucket]:
    """How many of the lines of the log were delivered in each step, and how many were not."""
    rows = client.rows(
        sql(
            "SELECT intDiv(toUnixTimestamp(at), %s) * %s, countIf(outcome = 'delivered'),"
            f" countIf(outcome NOT IN ('delivered', 'filtered')) FROM {DELIVERY_LOG.name} WHERE %s GROUP BY 1",
            step,
            step,
            where,
        )
    )
    counted = {int(at): (delivered, other) for at, delivered, other in rows}
    # Also the steps in which nothing was sent: a chart must not close the gap.
    begin, end = int(since.timestamp()), int(now.timestamp())
    return [
        DeliveryBucket(datetime.fromtimestamp(at, UTC), *counted.get(at, (0, 0))) for at in range(begin, end + 1, step)
    ]
