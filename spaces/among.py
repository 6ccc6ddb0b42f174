"""A condition of the ORM: a column is one of many numbers."""

from collections.abc import Iterable

from django.db.models import BooleanField, F, Func, Value


def among(column: str, numbers: Iterable[int]) -> Func:
    """As `column__in=numbers`, and far cheaper for thousands: the ORM would look at each of them, twice."""
    # As one literal: PostgreSQL reads that much faster than an expression.
    array = Value("{" + ",".join(map(str, numbers)) + "}")
    condition = "(%(expressions)s::bigint[]))"
    return Func(F(column), array, template=condition, arg_joiner=" = ANY(", output_field=BooleanField())
