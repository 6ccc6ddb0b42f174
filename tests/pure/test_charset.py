"""A body in UTF-8, whatever charset it came in; and never two texts that become one."""

import codecs
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sources.rules.charset import to_utf8

CHARSETS = ["", "utf-8", "us-ascii", "latin-1", "windows-1252", "cp1251", "shift_jis", "gbk", "utf-16", "utf-7", "hex"]


@pytest.mark.parametrize("charset", ["latin-1", "ISO-8859-15", "cp1252", "mac_roman", "cp437"])
def test_a_declared_charset_is_honoured(charset):
    assert to_utf8('{"x":"Müller"}'.encode(charset), charset) == '{"x":"Müller"}'.encode()


@pytest.mark.parametrize("charset", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "utf-32-be"])
@pytest.mark.parametrize("declared", ["", "utf-8", "utf-16", "utf-32", "ascii", "nobody-knows", "hex", "undefined"])
def test_which_of_unicodes_it_is_shows(charset, declared):
    assert to_utf8('{"x":"Müller"}'.encode(charset), declared) == '{"x":"Müller"}'.encode()


@pytest.mark.parametrize(
    ("charset", "raw"),
    [("cp1252", b"\x81"), ("shift_jis", b"\xc3\xa9\xff"), ("gbk", b"\xff"), ("utf-16", b"{\0\0\xd8")],
)
def test_what_means_nothing_in_it_is_no_utf_8_afterwards(charset, raw):
    with pytest.raises(UnicodeDecodeError):
        to_utf8(raw, charset).decode()


@settings(max_examples=500, deadline=None)
@given(st.binary(max_size=12), st.sampled_from(CHARSETS))
def test_any_bytes_are_read_and_are_text_only_if_they_are_that_text(raw, charset):
    body = b'{"x":"%b"}' % raw
    utf8 = to_utf8(body, charset)
    try:
        text = utf8.decode()
    except UnicodeDecodeError:
        return
    unicode = charset in ("", "hex") or charset.startswith(("utf-8", "utf-16", "us-ascii"))
    name = json.detect_encoding(body) if unicode else charset
    assert codecs.decode(body, name) == text
