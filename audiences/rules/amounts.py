"""PURE. How much of a property: sum, average, smallest and largest number, and how many different values.

Numbers are whole millionths, which add up the same in any order. The sum and the number of values of nobody's events
are 0; an average, a smallest and a largest there is none of, which is neither more nor less than anything.
"""

from collections.abc import Sequence

from audiences.rules.aggregates import COUNT, DISTINCT, LARGEST, SUM, Shape
from audiences.rules.operators import Operand, Place
from audiences.rules.values import amount, mark
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
        return [(LARGEST, place.aggregate("max", _negative, rows))]
    total = (SUM, sql("ifNull(%s, 0)", place.aggregate("sum", amount, rows)))
    return [total] if measure == "sum" and not counted else [total, (COUNT, place.aggregate("count", amount, rows))]


def test(measure: str, columns: Sequence[str], sign: str, number: float) -> Sql:
    """Whether it is so much. Never NULL."""
    bound = Sql(f"toInt128('{_millionths(number)}')")
    if measure == "distinct":
        return sql(f"(length({columns[0]}) {sign} %s)", int(number))
    if measure == "average":
        return sql(f"({columns[1]} > 0 AND {columns[0]} {sign} %s * toInt128({columns[1]}))", bound)
    if measure == "sum":
        return sql(f"({columns[0]} {sign} %s)", bound)
    value = columns[0] if measure == "maximum" else f"-{columns[0]}"
    return sql(f"ifNull({value} {sign} %s, 0)", bound)


def text(measure: str, columns: Sequence[str], *, empty: str = "") -> Sql:
    """How much it is, as a number of JSON; `empty` when there is none. An average is cut off behind the millionth."""
    if measure == "distinct":
        return Sql(f"toString(length({columns[0]}))")
    if measure in ("minimum", "maximum"):
        value = columns[0] if measure == "maximum" else f"-{columns[0]}"
        return sql(f"ifNull({_decimal(value)}, %s)", empty)
    if measure == "sum" and len(columns) == 1:  # not counted: a sum of nothing is 0
        return Sql(_decimal(columns[0]))
    value = columns[0] if measure == "sum" else f"intDiv({columns[0]}, toInt128(greatest({columns[1]}, 1)))"
    return sql(f"if({columns[1]} = 0, %s, {_decimal(value)})", empty)


def _decimal(millionths: str) -> str:
    return f"toString(toDecimal256({millionths}, 6) / {MILLION})"


def _negative(value: Operand) -> Sql:
    return sql("-%s", amount(value))


def _millionths(number: float) -> int:
    return number * MILLION if isinstance(number, int) else round(number * MILLION)
