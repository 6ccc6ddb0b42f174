"""What rows of a warehouse mean, and when they are asked for."""

import json
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiences.rules import sql_rows
from audiences.rules.schedules import next_run, sentence
from audiences.rules.sql_rows import RowsError
from audiences.rules.warehouse import only_rows


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (Decimal("12.50"), 12.5),
        (Decimal("3.00"), 3),
        (Decimal("NaN"), None),
        (float("inf"), None),
        (date(2026, 2, 28), "2026-02-28"),
        (datetime(2026, 2, 28, 12, tzinfo=UTC).replace(tzinfo=None), "2026-02-28T12:00:00.000Z"),
        (datetime(2026, 2, 28, 12, tzinfo=UTC), "2026-02-28T12:00:00.000Z"),
        (UUID(int=1), "00000000-0000-0000-0000-000000000001"),
        (b"ab\xff", "ab�"),
        ([Decimal(1), {"a": date(2026, 1, 1)}], [1, {"a": "2026-01-01"}]),
        (timedelta(minutes=1), "60.0"),
        ("a\0b", "ab"),
        (True, True),
        (None, None),
    ],
)
def test_a_value_is_as_json_has_it(value, plain):
    assert sql_rows.plain(value) == plain
    json.dumps(sql_rows.plain(value))


def test_an_email_is_stored_in_lower_case_and_whoever_has_no_identifier_is_named():
    shape = sql_rows.shape(["email", "tier"])
    assert shape.identifier([" Ada@X.org ", 1], 1) == "ada@x.org"
    with pytest.raises(RowsError, match="Row 7 has no email"):
        shape.identifier([None, 1], 7)
    assert sql_rows.shape(["tier", "user_id", "email"]).id == "user_id"
    with pytest.raises(RowsError, match="same name"):
        sql_rows.shape(["email", "tier", "tier"])


@given(st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3), max_size=4))
def test_a_digest_does_not_depend_on_the_order(values):
    assert sql_rows.digest(values) == sql_rows.digest(dict(reversed(values.items())))


@given(st.integers(0, 50), st.integers(0, 50), st.integers(0, 100))
def test_a_run_is_held_when_more_than_the_share_vanishes(vanished, stayed, most):
    before = vanished + stayed
    assert bool(sql_rows.held(vanished, before, most)) == (vanished > 0 and vanished / before > most / 100)


def test_a_query_is_one_of_its_own():
    assert only_rows("SELECT 1 -- one;\n ; ", 5).startswith("SELECT * FROM (\nSELECT 1 -- one;\n) AS personas LIMIT 5")


MOMENTS = st.integers(0, 2 * 365 * 86_400).map(lambda s: datetime(2025, 1, 1, tzinfo=UTC) + timedelta(seconds=s))


@given(MOMENTS, st.sampled_from(["hour", "day", "week"]), st.times(), st.integers(0, 6))
def test_the_next_run_is_later_and_no_more_than_one_period_away(after, every, at, weekday):
    at = at.replace(second=0, microsecond=0)
    due = next_run(every, at=at, weekday=weekday, time_zone="Europe/Berlin", after=after)
    period = {"hour": timedelta(hours=1), "day": timedelta(hours=25), "week": timedelta(days=7, hours=1)}[every]
    assert after < due <= after + period
    assert due.minute == at.minute


@pytest.mark.parametrize(
    ("after", "due"),
    [
        ("2026-03-28T12:00", "2026-03-29T01:30"),  # 02:30 is skipped in Berlin: an hour later, 03:30 summer time
        ("2026-03-29T12:00", "2026-03-30T00:30"),
        ("2026-10-24T12:00", "2026-10-25T00:30"),  # 02:30 comes twice: the first time
        ("2026-10-25T00:30", "2026-10-26T01:30"),
    ],
)
def test_a_daily_run_keeps_the_time_of_the_wall_through_changes_of_the_clock(after, due):
    moment = datetime.fromisoformat(after).replace(tzinfo=UTC)
    found = next_run("day", at=time(2, 30), weekday=0, time_zone="Europe/Berlin", after=moment)
    assert found == datetime.fromisoformat(due).replace(tzinfo=UTC)


def test_a_schedule_reads_as_a_sentence():
    assert sentence("week", at=time(6), weekday=2, time_zone="UTC") == "every Wednesday at 06:00 (UTC)"
    assert sentence("hour", at=time(6, 5), weekday=2, time_zone="UTC") == "every hour, 5 minutes past"
