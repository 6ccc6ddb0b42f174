"""PURE. Which texts are moments, and which moment each is: by one rule, in Python and in ClickHouse.

    2026-01-31                          midnight UTC
    2026-01-31T08:00[:00[.123456789]]   UTC, or with a zone behind it: Z, UTC, +02:00, +0200 or +02, also after a blank

A blank may stand for the T, a comma for the point, small letters for T and Z. Years 0001 to 9999; whatever is finer
than a millisecond is cut off. Numbers are no moments: nobody could say whether seconds or milliseconds are meant.
"""

import re
from calendar import isleap
from datetime import date, timedelta

from sources.events.sql import Sql, sql

DATE = r"([0-9]{4})-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
TIME = r"([01][0-9]|2[0-3]):([0-5][0-9])(?::([0-5][0-9])(?:[.,]([0-9]+))?)?"
ZONE = r" ?(?:[Zz]|UTC|([+-])([01][0-9]|2[0-3])(?::?([0-5][0-9]))?)"
MOMENT = f"^{DATE}(?:[Tt ]{TIME}(?:{ZONE})?)?$"
# Most are written like this, and of the years that ClickHouse knows: it reads them five times as fast as we do.
USUAL = (
    r"^(19[1-9]\d|2[01]\d\d)-\d\d-\d\d(T([01]\d|2[0-3]):[0-5]\d:[0-5]\d(\.\d{1,9})?(Z|[+-]([01]\d|2[0-3]):[0-5]\d))?$"
)
READ = "parseDateTime64BestEffortOrNull(%s, 3, 'UTC')"
DAYS_BEFORE_1970 = 719_468  # from the first of March of the year 0
_moment = re.compile(MOMENT.replace("$", r"\Z"))


def milliseconds(text: str) -> int | None:
    """Since 1970; None when the text is no moment."""
    parts = _moment.match(text)
    if not parts:
        return None
    year, month, day, hour, minute, second = (int(part or 0) for part in parts.groups()[:6])
    fraction, sign, hours, minutes = parts.groups()[6:]
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    if year == 0 or day > (28 + leap if month == 2 else 30 if month in (4, 6, 9, 11) else 31):
        return None
    # Years begin in March, so that the day of the year does not depend on February.
    year -= month <= 2
    of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    days = 365 * year + year // 4 - year // 100 + year // 400 + of_year - DAYS_BEFORE_1970
    offset = (int(hours or 0) * 60 + int(minutes or 0)) * (-1 if sign == "-" else 1)
    return ((days * 24 + hour) * 60 + minute - offset) * 60_000 + second * 1000 + int(((fraction or "") + "000")[:3])


def compares(text: Sql, sign: str, bound: int) -> Sql:
    """Whether the text is a moment of which this is true: before (<) the bound in milliseconds, after it (>), or at it
    as well (<=, >=). text: '' when there is none."""
    return _holds(text, f"%s {sign} {bound}")


def within(text: Sql, after: int, until: int) -> Sql:
    """The same of a moment in (after, until]."""
    # The moment is written once: working it out is most of the statement.
    return _holds(text, f"arrayExists(ms -> ms > {after} AND ms <= {until}, [%s])")


def _holds(text: Sql, condition: str) -> Sql:
    usual = sql(f"ifNull({condition % f'toUnixTimestamp64Milli({READ})'}, 0)", text)
    other = sql(
        f"arrayExists(at -> at[2] != '' AND {VALID} AND {condition % MILLISECONDS}, [extractGroups(%s, %s)])",
        text,
        MOMENT,
    )
    return sql("if(match(%s, %s), %s, %s)", text, USUAL, usual, other)


def moments(text: Sql) -> Sql:
    """The moment that the text is, in milliseconds, as an array; an empty one when it is none."""
    usual = sql(f"[ifNull(toUnixTimestamp64Milli({READ}), 0)]", text)
    other = sql(
        f"arrayMap(at -> {MILLISECONDS}, arrayFilter(at -> at[2] != '' AND {VALID}, [extractGroups(%s, %s)]))",
        text,
        MOMENT,
    )
    return sql("if(match(%s, %s), %s, %s)", text, USUAL, usual, other)


def exact_moments(text: Sql) -> Sql:
    """As `moments`, without the 1st of January 1970 that it has for a day which does not exist, such as 2026-02-30."""
    return sql("if(%s, %s, [])", compares(text, ">=", -(2**62)), moments(text))


def days_of(number: int) -> tuple[str, ...]:
    """The days, as in 02-28, whose anniversary is on this day after 1970. In a common year the 29th of February's is on
    the 28th."""
    day = date(1970, 1, 1) + timedelta(days=number)
    leaps = (day.month, day.day) == (2, 28) and not isleap(day.year)
    return (f"{day:%m-%d}", "02-29") if leaps else (f"{day:%m-%d}",)


def _number(group: int) -> str:
    return f"toInt64OrZero(at[{group}])"


# A calendar repeats itself after 400 years, which are 146,097 days: one of the years 1900 to 2299, which ClickHouse
# knows, stands for each of the others. A day that does not exist is one of the next month there.
_year = f"({_number(1)} + 100)"
_day = f"makeDate32(1900 + modulo({_year}, 400), {_number(2)}, {_number(3)})"
VALID = f"at[1] != '0000' AND toDayOfMonth({_day}) = {_number(3)}"
_days = f"(toInt64({_day}) + 146097 * (intDiv({_year}, 400) - 5))"
_offset = f"(({_number(9)} * 60 + {_number(10)}) * if(at[8] = '-', -1, 1))"
MILLISECONDS = (
    f"((({_days} * 24 + {_number(4)}) * 60 + {_number(5)} - {_offset}) * 60000 + {_number(6)} * 1000"
    " + toInt64OrZero(substring(concat(at[7], '000'), 1, 3)))"
)
