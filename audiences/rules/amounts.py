"""PURE. How much of a property: sum, average, smallest and largest number, and how many different values.

Numbers are whole millionths, which add up the same in any order. The sum and the number of values of nobody's events
are 0; an average, a smallest and a largest there is none of, which is neither more nor less than anything.
"""

from collections.abc import Sequence

from audiences.rules.aggregates import COUNT, DISTINCT, LARGEST, SUM, Shape
from audiences.rules.operators import Place
from audiences.rules.values import JsonValue, amount, mark
from sources.events.sql import Sql, sql

MILLION = 1_000_000


def expressions(measure: str, place: Place, rows: Sql, *, counted: bool = False) -> list[tuple[Shape, Sql]]:
    """What is to be known of the rows, in the order in which `test` and `text` take it. counted: `text` is to be
    asked, to which a sum of nothing is none."""
    if measure == "distinct":
        return [(DISTINCT, place.aggregate("groupUniqArray", mark, rows))]
    if measure == "maximum":
        return [(LARGEST, place.aggregate("max", amount, rows))]
    if measure == "minimum":
        # The largest of the negative: so both are one column, which merged profiles put together in one way.
        return [(LARGEST, place.aggregate("max", lambda value: sql("-%s", amount(value)), rows))]
    total = (SUM, sql("ifNull(%s, 0)", place.aggregate("sum", amount, rows)))
    return [total] if measure == "sum" and not counted else [total, (COUNT, place.aggregate("count", amount, rows))]


def of_texts(measure: str, texts: Sql) -> list[Sql]:
    """The columns that `expressions` ask for, of values that are together already: an array of JSON texts, equal values
    alike."""
    if measure == "distinct":
        return [sql("arrayDistinct(%s)", texts)]
    amounts = sql("arrayMap(t -> %s, %s)", amount(JsonValue(Sql("t"))), texts)
    numbers = sql("arrayMap(n -> assumeNotNull(n), arrayFilter(n -> isNotNull(n), %s))", amounts)
    if measure == "maximum":
        return [sql("arrayReduce('maxOrNull', %s)", numbers)]
    if measure == "minimum":
        return [sql("arrayReduce('maxOrNull', arrayMap(n -> -n, %s))", numbers)]
    return [sql("arrayReduce('sum', %s)", numbers), sql("length(%s)", numbers)]


def test(measure: str, columns: Sequence[Sql], sign: str, number: float) -> Sql:
    """Whether it is so much. Never NULL."""
    # A whole number is not rounded: as a float it would lose digits beyond the 15th.
    millionths = number * MILLION if isinstance(number, int) else round(number * MILLION)
    bound = Sql(f"toInt128('{millionths}')")
    if measure == "distinct":
        return sql(f"(length(%s) {sign} %s)", columns[0], int(number))
    if measure == "average":
        total, count = columns  # multiplied, not divided: nothing is rounded
        return sql(f"(%s > 0 AND %s {sign} %s * toInt128(%s))", count, total, bound, count)
    if measure == "sum":
        return sql(f"(%s {sign} %s)", columns[0], bound)
    return sql(f"ifNull(%s%s {sign} %s, 0)", Sql("" if measure == "maximum" else "-"), columns[0], bound)


def text(measure: str, columns: Sequence[Sql], *, empty: str = "") -> Sql:
    """How much it is, as a number of JSON; `empty` when there is none. An average is cut off behind the millionth."""
    if measure == "distinct":
        return sql("toString(length(%s))", columns[0])
    if measure in ("minimum", "maximum"):
        value = columns[0] if measure == "maximum" else sql("-%s", columns[0])
        return sql("ifNull(%s, %s)", _decimal(value), empty)
    if measure == "sum" and len(columns) == 1:  # not counted: a sum of nothing is 0
        return _decimal(columns[0])
    value = columns[0] if measure == "sum" else sql("intDiv(%s, toInt128(greatest(%s, 1)))", *columns)
    return sql("if(%s = 0, %s, %s)", columns[1], empty, _decimal(value))


def _decimal(millionths: Sql) -> Sql:
    return sql(f"toString(toDecimal256(%s, 6) / {MILLION})", millionths)
