"""What requests of the Profile API say: who is meant, where a page begins, what is refused."""

from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from identity.rules.profile_requests import (
    EventPlace,
    Number,
    ReadRefused,
    choice_of,
    cursor,
    cursor_of,
    flag_of,
    is_profile_api,
    limit_of,
    moment_of,
    person_name,
    words_of,
)
from sources.collect import is_collect


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("use_2qKf0", ("use_2qKf0", None, None)),
        ("user_id:u1", (None, "user_id", "u1")),
        ("email:Ada@X.org", (None, "email", "ada@x.org")),
        ("user_id:Ada", (None, "user_id", "Ada")),
        ("url:https://x.org/a:b?c", (None, "url", "https://x.org/a:b?c")),
        (":", (None, "", "")),
        ("user_id:a\0", ("", None, None)),
        ("user_id:\ud800", ("", None, None)),
    ],
)
def test_a_person_is_named_by_an_id_or_an_identifier(text, name):
    assert person_name(text) == name


@pytest.mark.parametrize(
    ("path", "profiles", "collect"),
    [
        ("/v1/spaces/s/collections/users/profiles", True, False),
        ("/v1/namespaces/s/x", True, False),
        ("/v1/spaces", True, False),
        ("/v1/spacesuits", False, True),
        ("/v1/batch", False, True),
        ("/v1/spaces/a\nb", True, False),
        ("/api/spaces/s", False, False),
    ],
)
def test_an_address_is_of_the_profile_api_or_of_collect(path, profiles, collect):
    assert (is_profile_api(path), is_collect(path)) == (profiles, collect)


@given(st.text(max_size=20))
def test_an_address_is_never_of_both(rest):
    for path in (f"/v1/{rest}", f"/v1/spaces{rest}", f"/v1/namespaces/{rest}"):
        assert is_profile_api(path) + is_collect(path) == 1


def test_what_is_not_given_is_as_segment_has_it():
    assert limit_of({}, default=10, most=200) == 10
    assert choice_of({}, "sort", "desc", "asc") == "desc"
    assert (flag_of({}, "verbose"), flag_of({"verbose": "TRUE"}, "verbose")) == (False, True)
    assert words_of({"include": "a,,b c,"}, "include") == ["a", "b c"]
    assert (cursor_of({}, str), cursor_of({"next": ""}, str), moment_of({}, "start")) == (None, None, None)


@pytest.mark.parametrize("text", ["0", "201", "-1", "1.0", "", "٣", "99999999999999999999", " 1", "x"])
def test_a_limit_that_cannot_be_is_refused(text):
    with pytest.raises(ReadRefused) as refused:
        limit_of({"limit": text}, default=10, most=200)
    assert (refused.value.status, refused.value.code) == (400, "invalid_request_error")
    assert "`limit`" in refused.value.message


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2018-01-02", datetime(2018, 1, 2, tzinfo=UTC)),
        ("2018-01-02T03:04:05Z", datetime(2018, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2018-01-02T03:04:05 02:00", datetime(2018, 1, 2, 1, 4, 5, tzinfo=UTC)),
        ("2018-01-02T03:04:05-02:00", datetime(2018, 1, 2, 5, 4, 5, tzinfo=UTC)),
    ],
)
def test_moments_are_iso_8601(text, at):
    assert moment_of({"start": text}, "start") == at


@pytest.mark.parametrize("text", ["yesterday", "2018-13-01", "1514851200", "0001-01-01T00:00:00+14:00"])
def test_a_moment_that_is_none_is_refused(text):
    with pytest.raises(ReadRefused):
        moment_of({"start": text}, "start")


@given(st.one_of(st.text(), st.text(alphabet="AIMWi1sx=_-", max_size=12)), st.sampled_from([str, Number, EventPlace]))
def test_whatever_a_cursor_says_it_is_one_or_is_refused(text, kind):
    with suppress(ReadRefused):
        cursor_of({"next": text}, kind)


@pytest.mark.parametrize(
    ("place", "kind"), [("plan", str), ("", str), ("a\n\u2028é", str), (2**40, Number), ((-5, 1, 2**40, 0), EventPlace)]
)
def test_a_page_goes_on_where_the_one_before_ended(place, kind):
    page = cursor(url="/x", last=place, limit=3)
    assert (page["url"], page["has_more"], page["limit"]) == ("/x", True, 3)
    assert page["next"].replace("-", "").replace("_", "").isalnum()
    assert cursor_of(page, kind) == place
    assert cursor(url="/x", last=None, limit=3) == {"url": "/x", "has_more": False, "next": "", "limit": 3}
