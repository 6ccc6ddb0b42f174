"""Properties are divided so that ClickHouse gives each of them one type, whatever else is in its batch."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sources.events.properties import askable, readable, split

keys = st.sampled_from(["a", "b", "a.b", "b.c", "a[]", "", "é"])
scalars = (
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=3)
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys, inner, max_size=3), max_leaves=8
)
objects = st.dictionaries(keys, values, max_size=4)


@pytest.mark.parametrize(
    ("sent", "properties", "lists"),
    [
        ("{}", "{}", "{}"),
        ('{"a":1,"b":"x","c":null,"d":1.5}', '{"a":1,"b":"x","c":null,"d":1.5}', "{}"),
        ('{"a":18446744073709551615}', '{"a":18446744073709551615}', "{}"),
        ('{"a":-9223372036854775808}', '{"a":-9223372036854775808}', "{}"),
        ('{"a":18446744073709551616}', '{"a":1.8446744073709552e19}', "{}"),
        ('{"a":1' + "0" * 400 + "}", '{"a":null}', "{}"),
        ('{"a":[1,"x"],"b":2}', '{"b":2}', '{"a":"[1,\\"x\\"]"}'),
        ('{"a":{"b":[]}}', "{}", '{"a.b":"[]","a":"{}"}'),
        ('{"a":{"b":[],"c":1}}', '{"a.c":1}', '{"a.b":"[]"}'),
        ('{"a":{}}', "{}", '{"a":"{}"}'),
        ('{"a":{"b":null}}', "{}", '{"a":"{}"}'),
        ('{"a":{"b":{}}}', "{}", '{"a":"{}","a.b":"{}"}'),
        ('{"a.b":{}}', "{}", '{"a":"{}","a.b":"{}"}'),
        ('{"a.b":{"c":null}}', "{}", '{"a":"{}","a.b":"{}"}'),
        ('{"a.b":1,"a":{"b":2,"c":3}}', '{"a.b":1,"a.c":3}', "{}"),
        ('{"a":{"b":2},"a.b":[1]}', "{}", '{"a.b":"[1]","a":"{}"}'),
        ('{"a.b":null,"a":{"b":2}}', '{"a.b":2}', "{}"),
        ('{"a":5,"a.b":{"c":[]}}', '{"a":5}', '{"a.b.c":"[]","a.b":"{}"}'),
        ('{"a":[18446744073709551616]}', "{}", '{"a":"[1.8446744073709552e19]"}'),
    ],
)  # fmt: skip
def test_properties_are_divided(sent, properties, lists):
    found = split(sent.encode())
    assert [json.loads(each) for each in found] == [json.loads(properties), json.loads(lists)]


@given(objects)
def test_no_property_is_a_list_or_a_number_that_does_not_fit_and_no_list_is_anything_but_text(tree):
    properties, lists = (json.loads(each) for each in split(json.dumps(tree).encode()))
    for value in leaves(properties):
        assert not isinstance(value, list | dict)
        assert not isinstance(value, int) or -(2**63) <= value < 2**64
    assert all(json.loads(value) == {} or isinstance(json.loads(value), list) for value in lists.values())
    assert not [path for path in properties if properties[path] is not None and path in lists]


def leaves(tree):
    return [leaf for value in tree.values() for leaf in (leaves(value) if isinstance(value, dict) else [value])]


@given(values)
def test_what_is_made_readable_is_the_same_value(value):
    made = json.loads(readable(json.dumps(value).encode()))
    assert made == json.loads(json.dumps(value), parse_int=lambda text: int(text) if len(text) < 19 else fitting(text))


def fitting(text):
    return int(text) if -(2**63) <= int(text) < 2**64 else float(text)


def test_names_that_ask_for_elements():
    lists = {
        "tags": '["a",1,null]',
        "cart": {"items": '[{"price":{"net":1},"x":null},{"sku":"s","more":[1]}]'},
        "o": "{}",
    }
    assert askable(json.dumps(lists)) == ["tags[]", "cart.items[].price.net", "cart.items[].sku"]
