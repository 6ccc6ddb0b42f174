"""Whom a request is about, as people paste it; and what its kind means."""

from hashlib import sha256

import pytest

from privacy.rules.kinds import KINDS
from privacy.rules.needles import finder, needles
from privacy.rules.subjects import MOST_SUBJECTS, SubjectError, read, subjects


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("u1\n\n  u2 ", [("user_id", "u1"), ("user_id", "u2")]),
        ("Ada@Example.com", [("email", "Ada@Example.com")]),
        ("email: ada@x.org\nanonymous_id:a:1", [("email", "ada@x.org"), ("anonymous_id", "a:1")]),
        ("type,value\nemail,ada@x.org\nloyalty_id,7\n", [("email", "ada@x.org"), ("loyalty_id", "7")]),
        ('\ufeffuser_id,"a,b"', [("user_id", "a,b")]),
        ("urn:uuid:1", [("user_id", "urn:uuid:1")]),
        ("", []),
    ],
)
def test_lines_and_files_are_read(text, pairs):
    assert [(type, value.strip()) for type, value in read(text, ["loyalty_id"])] == pairs


def test_each_is_meant_once_as_it_is_kept():
    assert subjects([("email", "Ada@x.org "), ("email", "ada@x.org"), ("", "U1")]) == [
        ("email", "ada@x.org"),
        ("user_id", "U1"),
    ]


@pytest.mark.parametrize(
    ("pairs", "place"),
    [([], 0), ([("email", "a@x.org"), ("email", " ")], 1), ([("user_id", "x" * 501)], 0)],
)
def test_what_cannot_be_meant_is_refused_with_its_place(pairs, place):
    with pytest.raises(SubjectError) as refused:
        subjects(pairs)
    assert refused.value.place == place


def test_there_are_at_most_five_thousand():
    assert len(subjects([("user_id", str(n)) for n in range(MOST_SUBJECTS)])) == MOST_SUBJECTS
    with pytest.raises(SubjectError):
        subjects([("user_id", str(n)) for n in range(MOST_SUBJECTS + 1)])


def test_only_what_erases_and_does_not_suppress_can_be_about_one_space():
    assert {key for key, kind in KINDS.items() if kind.of_spaces} == {"DELETE_ONLY", "DELETE_INTERNAL"}
    assert all(kind.erases for kind in KINDS.values() if kind.forwards)


def test_a_short_value_is_looked_for_between_quotes_alone_and_each_as_a_hash():
    wanted = needles(["7", "ünï-1234"])
    assert [text for text in wanted if len(text) != 64] == ['"7"', "ünï-1234", "\\u00fcn\\u00ef-1234"]
    assert sha256(b"7").hexdigest() in wanted


def test_any_of_thousands_is_found_in_small_or_capital_letters_and_signs_mean_themselves():
    is_named = finder(needles([f"person-{n}@x.org" for n in range(5_000)]))
    assert is_named('{"email": "PERSON-4999@x.org"}')
    assert not is_named("person-77@xyorg, person-@x.org")
