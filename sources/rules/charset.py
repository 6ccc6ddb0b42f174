"""PURE. A request's body in UTF-8, whatever charset it was sent in.

What cannot be decoded stays as bytes that are no UTF-8, so that whoever reads the message they are in refuses it: a
replacement character would make two different ids one.
"""

import codecs
import json

# What Python also calls encodings, though no text is ever sent in them (its manual, "Python Specific Encodings").
NOT_CHARSETS = {"idna", "mbcs", "oem", "palmos", "punycode", "raw-unicode-escape", "undefined", "unicode-escape"}
UNDECODABLE = "sources.rules.charset.undecodable"


def to_utf8(body: bytes, charset: str) -> bytes:
    """The body in UTF-8, without a byte order mark. charset: as declared; "" when it was not.

    JSON that is declared in no charset, in one that nobody knows, or in one of Unicode's, is in the one that its
    first four bytes show (RFC 4627, 3).
    """
    try:
        name = codecs.lookup(charset).name
        b"\0\0\0\0".decode(name, "replace")
    except (LookupError, ValueError):  # none of that name; one that is not of text, such as gzip
        name = ""
    if name.replace("_", "-") in NOT_CHARSETS:
        name = ""
    if name in ("", "ascii") or name.startswith(("utf-8", "utf-16", "utf-32")):
        name = json.detect_encoding(body)
    if name == "utf-8":
        return body
    if name == "utf-8-sig":
        return body.removeprefix(codecs.BOM_UTF8)
    return body.decode(name, UNDECODABLE).encode("utf-8", "surrogateescape")


def _kept(error: UnicodeError) -> tuple[str, int]:
    """The bytes themselves, behind one that is never part of UTF-8: alone they might look like a character."""
    assert isinstance(error, UnicodeDecodeError)
    wrong = error.object[error.start : error.end]
    return "\udcff" + wrong.decode("ascii", "surrogateescape"), error.end


codecs.register_error(UNDECODABLE, _kept)
