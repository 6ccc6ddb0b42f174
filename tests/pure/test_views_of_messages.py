"""How a message is told in the debugger, and the snippets that are copied from the set-up."""

import json

import pytest

from sources.pages import message_view
from sources.pages.snippets import masked, snippets


def test_a_message_is_told_by_who_and_what_first_and_the_rest_last():
    message = {"type": "track", "event": "Bought", "userId": "u1", "properties": {"sku": {"eu": 1}}, "messageId": "m"}
    told = [(section.title, section.facts) for section in message_view.sections(message)]
    assert told == [
        ("Who", [("userId", "u1")]),
        ("Properties", [("sku.eu", "1")]),
        ("Message", [("messageId", "m")]),
    ]


@pytest.mark.parametrize("value", [None, 7, "text", [], {}])
def test_parts_that_are_no_object_are_left_to_raw(value):
    assert message_view.sections({"properties": value, "traits": value}) == []


def test_a_message_of_any_size_is_told_in_a_bounded_way():
    (section,) = message_view.sections({"traits": {f"t{n}": "x" * 1000 for n in range(200)}})
    assert len(section.facts) == message_view.MOST_FACTS + 1
    assert section.facts[-1] == ("…", "140 more; see Raw")
    assert len(section.facts[0][1]) == message_view.LONGEST_VALUE + 1


def test_an_object_that_is_very_deep_is_told_too():
    deep: object = 1
    for _ in range(99):
        deep = {"a": deep}
    (section,) = message_view.sections({"properties": deep})
    assert section.facts[0][0] == "a.a.a.a.a.a.a"


@pytest.mark.parametrize("text", ["no json {", "[1]", "", b"\xff\xfe", "[" * 100_000])
def test_what_is_no_message_is_shown_as_it_came(text):
    assert message_view.parse_message(text) == {}
    assert isinstance(message_view.format_json(text), str)


KINDS = ("website", "mobile", "server", "http")


@pytest.mark.parametrize("kind", KINDS)
def test_a_snippet_shows_a_masked_key_and_copies_the_whole_one(kind):
    for snippet in snippets(kind, key="abcdefghij", url="https://p.example.com", reveal=False):
        assert "abcdefghij" not in snippet.shown
        assert masked("abcdefghij") in snippet.shown
        assert "abcdefghij" in snippet.whole
        assert "p.example.com" in snippet.whole
    assert [snippet.shown for snippet in snippets(kind, key="k", url="u", reveal=True)] == [
        snippet.whole for snippet in snippets(kind, key="k", url="u", reveal=False)
    ]


def test_each_kind_of_source_begins_with_what_most_of_its_users_take():
    assert [snippets(kind, key="k", url="u", reveal=True)[0].name for kind in KINDS] == [
        *("website", "react-native", "python", "curl")
    ]


def test_the_body_of_the_curl_snippet_is_json():
    curl = snippets("http", key="k", url="u", reveal=True)[0].whole
    assert json.loads(curl.split("-d '")[1].rstrip("'"))["event"] == "Signed Up"
