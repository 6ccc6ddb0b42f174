"""CSV files of any charset and shape, in parts of any size, and what becomes of their rows."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.rules.policy import DEFAULT_POLICY, Definition, extended
from imports.rules.files import (
    LONGEST_FIELD,
    FileError,
    delimiter_of,
    header_errors,
    records,
    to_utf8,
    without_mark,
)
from imports.rules.rows import (
    ColumnUse,
    GoodRow,
    check,
    guessed,
    identify,
    importable,
    mapping_error,
    read_value,
)
from tests.factories_identity import NOON

POLICY = extended(DEFAULT_POLICY, Definition("loyalty_id"), after="email")
NAMES = ["email", "user_id", "plan", "age"]
USES = [
    ColumnUse("identifier", "email"),
    ColumnUse("identifier", "user_id"),
    ColumnUse("trait", "plan"),
    ColumnUse("trait", "age", "number"),
]


def kept(content, charset, size):
    """The file as it is kept, sent in parts of so many bytes."""
    parts, pending = [], b""
    for place in range(0, len(content), size):
        part = content[place : place + size]
        if place == 0:
            part, charset = without_mark(part, charset)
        text, pending = to_utf8(part, pending, charset)
        parts.append(text)
    parts.append(to_utf8(b"", pending, charset, is_last=True)[0])
    return parts


@pytest.mark.parametrize(
    ("charset", "sent"),
    [
        ("utf-8", "utf-8"),
        ("utf-8", "utf-8-sig"),
        ("windows-1252", "windows-1252"),
        ("utf-16", "utf-16"),
        ("utf-16-be", "utf-16-be"),
        ("gb18030", "gb18030"),
    ],
)
@pytest.mark.parametrize("size", [4, 5, 1000])
def test_a_file_is_the_same_in_every_charset_and_in_parts_of_any_size(charset, sent, size):
    text = 'name,city\r\n"Zoë\r\nÄgli","Zürich, ""downtown"""\rLéo,\n'
    rows = records(kept(text.encode(sent), charset, size), ",")
    assert [(record.row, record.values) for record in rows] == [
        (1, ["name", "city"]),
        (2, ["Zoë\nÄgli", 'Zürich, "downtown"']),
        (3, ["Léo", ""]),
    ]


def test_what_is_in_another_charset_is_refused_and_not_garbled():
    with pytest.raises(FileError, match="not UTF-8: there is a byte 0xeb"):
        to_utf8("Zoë;1".encode("latin-1"), b"", "utf-8")
    with pytest.raises(FileError, match="no byte order mark"):
        without_mark("a".encode("utf-16-le"), "utf-16")
    with pytest.raises(FileError, match="NUL"):
        to_utf8(b"a\0b", b"", "utf-8")


@given(
    st.lists(st.lists(st.sampled_from(["", "a", "b c", 'd"e', "f\ng", "h,i", "ü"]), min_size=2, max_size=2)),
    st.integers(1, 30),
    st.integers(0, 20),
)
def test_whoever_stops_after_a_record_goes_on_with_the_next_one(rows, size, stop):
    quoted = [",".join('"' + cell.replace('"', '""') + '"' for cell in row) + "\n" for row in rows]
    content = "".join(quoted).encode()

    def after(start):
        return (content[place : place + size] for place in range(start, len(content), size))

    whole = list(records(after(0), ","))
    assert [record.values for record in whole] == rows
    for record in whole[:stop]:
        rest = records(after(record.end), ",", row=record.row, start=record.end)
        assert list(rest) == whole[record.row :]


def test_a_quote_that_is_never_closed_takes_no_more_than_a_field_with_it():
    content = b'a,b\n"open,1\n' + b"x,1\n" * (LONGEST_FIELD // 4 + 10)
    bad, *good = list(records([content], ","))[1:]
    assert "cannot be read" in bad.error
    assert all(record.values == ["x", "1"] for record in good)
    assert good


def test_the_header_says_what_parts_the_columns():
    assert [delimiter_of(line) for line in ("a;b,c;d", "a\tb", "a,b;c,d", "alone")] == [";", "\t", ",", ","]


@pytest.mark.parametrize(
    ("names", "error"),
    [
        ([], "The file is empty"),
        (["a", ""], "Column 2 has no name."),
        (["a "], "begins or ends with a blank"),
        (["a", "a"], "Columns 1 and 2 are both called “a”."),
        (["a\x07"], "a character that cannot be seen"),
        (["x" * 201], "more than 200 characters"),
        ([f"c{place}" for place in range(300)], "There are 300 columns"),
    ],
)
def test_each_rule_of_the_header_has_a_sentence_of_its_own(names, error):
    assert error in " ".join(header_errors(names))


def checked(*values):
    (record,) = records([(",".join(values) + "\n").encode()], ",", row=16)
    return check(record, NAMES, USES, POLICY)


def test_a_good_row_is_an_identify_call_and_a_blank_says_nothing():
    row = checked(" Ada@Example.com ", "u1", "", "36.5")
    assert isinstance(row, GoodRow)
    assert row.identifiers == (("user_id", "u1"), ("email", "ada@example.com"))
    assert identify(row, {}, "imp_1", NOON) == {
        "type": "identify",
        "messageId": "imp_1-17",
        "userId": "u1",
        "traits": {"age": 36.5, "email": "Ada@Example.com"},
        "context": {"library": {"name": "personas-imports"}},
        "timestamp": "2026-06-15T12:00:00.000Z",
    }


@pytest.mark.parametrize(
    ("values", "column", "rule"),
    [
        (("ada", "u1", "", ""), "email", "email"),
        (("", "", "pro", "3"), "", "no_identifier"),
        (("", "null", "", ""), "user_id", "identifier_blocked_value"),
        (("", "0000", "", ""), "user_id", "identifier_blocked_pattern"),
        (("", "u" * 501, "", ""), "user_id", "identifier_too_long"),
        (("", "u1", "", "old"), "age", "number"),
        (("", "u1", "", "nan"), "age", "number"),
        (("", "u1", ""), "", "fields"),
        (("", "u1", "x" * 30_001, ""), "", "too_large"),
    ],
)
def test_each_rule_of_a_row_names_the_row_the_column_and_the_value(values, column, rule):
    (problem,) = checked(*values)
    assert (problem.row, problem.column, problem.rule) == (17, column, rule)
    assert problem.value == (dict(zip(NAMES, values, strict=False))[column][:200] if column else "")


def test_all_that_is_wrong_with_a_row_is_said():
    assert [problem.rule for problem in checked("ada", "null", "", "old")] == [
        "email",
        "number",
        "identifier_blocked_value",
    ]


def test_an_identifier_of_the_spaces_own_goes_as_an_external_id():
    row = check(next(records([b"7\n"], ",", row=1)), ["id"], [ColumnUse("identifier", "loyalty_id")], POLICY)
    assert row.identifiers == (("loyalty_id", "7"),)
    assert "loyalty_id" not in json.dumps(row.message["traits"])


def test_columns_are_guessed_by_name_and_by_what_is_in_them():
    names = ["User ID", "E-mail address", "loyaltyId", "age", "zip", "member", "since", "name", "flag"]
    rows = [
        ["1", "a@b.c", "7", "36", "8001", "yes", "2026-01-31", "Ada", "1"],
        ["2", "", "", "", "0123", "no", "", "", "0"],
    ]
    uses = guessed(names, rows, POLICY)
    assert [use.name for use in uses[:3]] == ["user_id", "email", "loyalty_id"]
    assert [use.type for use in uses[3:]] == ["number", "text", "boolean", "date", "text", "number"]
    assert mapping_error(uses, names, POLICY) is None


@pytest.mark.parametrize(
    ("uses", "error"),
    [
        ([ColumnUse("trait", "a"), ColumnUse("trait", "b")], (0, "One column at least")),
        ([ColumnUse("identifier", "user_id")] * 2, (1, "There are two columns for user_id.")),
        ([ColumnUse("identifier", "user_id"), ColumnUse("trait", "email")], (1, "email is an identifier")),
        ([ColumnUse("identifier", "android.id"), ColumnUse("ignored")], (0, "android.id is no identifier")),
        ([ColumnUse("identifier", "user_id"), ColumnUse("trait", " ")], (1, "A trait needs a name")),
        ([ColumnUse("identifier", "user_id")], (0, "The file has 2 columns, and 1 are named.")),
    ],
)
def test_a_wrong_choice_of_columns_names_the_first_that_is_wrong(uses, error):
    place, sentence = mapping_error(uses, ["x", "y"], POLICY)
    assert place == error[0]
    assert error[1] in sentence


def test_identifiers_that_a_file_can_have_are_those_of_people():
    assert importable(POLICY) == ["user_id", "email", "loyalty_id", "anonymous_id"]


def test_values_are_read_as_what_they_are():
    assert read_value("number", "7") == 7
    assert read_value("number", "1e3") == 1000.0
    assert read_value("boolean", "No") is False
    assert read_value("date", "2026-01-31T10:00:00+02:00") == "2026-01-31T08:00:00.000Z"
    for type, text in (("number", "1" * 30), ("boolean", "maybe"), ("date", "31.01.2026")):
        with pytest.raises(ValueError):  # noqa: PT011 (Python says it in its own words)
            read_value(type, text)
