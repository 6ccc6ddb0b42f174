"""An event as names and values."""

from hypothesis import given
from hypothesis import strategies as st

from identity.pretty import LONGEST, MOST_ROWS, parts

json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=9),
    lambda inside: st.lists(inside, max_size=3) | st.dictionaries(st.text(max_size=5), inside, max_size=3),
    max_leaves=12,
)


def shown(message, identifiers=()):
    return {part.title: list(part.rows) for part in parts(message, identifiers)}


def test_nested_values_have_their_path_and_lists_stay_together():
    message = {"properties": {"cart": {"sku": "boot", "sizes": [41, 42]}, "paid": True, "note": None, "extra": {}}}
    assert shown(message)["Properties"] == [
        ("cart.sku", "boot"),
        ("cart.sizes", "[41, 42]"),
        ("paid", "true"),
        ("note", "null"),
        ("extra", "{}"),
    ]


def test_only_parts_that_say_something_are_shown_in_a_fixed_order():
    message = {"traits": {"plan": "pro"}, "properties": {}, "messageId": "m1", "context": {"traits": {"city": "Oslo"}}}
    assert list(shown(message, [("user_id", "u1")])) == ["Traits", "Traits in the context", "Identifiers", "Message"]


def test_many_rows_are_cut_and_counted_and_long_values_too():
    (part,) = parts({"properties": {f"p{n}": "x" * 999 for n in range(MOST_ROWS + 5)}}, [])
    assert (len(part.rows), part.more) == (MOST_ROWS, 5)
    assert len(part.rows[0][1]) == LONGEST + 1


@given(json, json, json)
def test_any_message_can_be_shown(properties, traits, context):
    message = {"properties": properties, "traits": traits, "context": context, "messageId": "m"}
    for part in parts(message, []):
        assert all(isinstance(name, str) and isinstance(value, str) for name, value in part.rows)
