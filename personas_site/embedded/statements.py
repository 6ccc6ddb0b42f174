"""What the HTTP interface must know of a statement before the engine sees it. Pure: bytes and text in, facts out."""

from __future__ import annotations

import re
from dataclasses import dataclass

TOKEN = re.compile(
    rb"""(?P<space>\s+|--[^\n]*(?:\n|$)|/\*.*?\*/)
    |(?P<quoted>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*"|`(?:[^`\\]|\\.)*`)
    |(?P<open>['"`]|/\*)
    |(?P<word>\w+)
    |(?P<other>.)""",
    re.S | re.X,
)
# What follows the table's name when the rows are part of the statement, or come from another query.
ROWS_INSIDE = {b"VALUES", b"SELECT", b"WITH", b"FROM", b"WATCH"}
# ClickHouse's rule: data starts after the first line break, or after the blanks if there is none.
FORMAT_AND_BREAK = re.compile(rb"\s+(\w+)[ \t\f]*(?:;[ \t\f]*)?(?:\r?\n)?")
NAME_FOLLOWS = {b"INTO", b"TABLE", b"."}  # after these even a keyword is a name
# Formats in which the pieces of a streamed result, put one after the other, are the whole.
STREAMABLE = {"native", "rowbinary", "tabseparated", "tsv", "csv", "jsoneachrow", "jsonlines", "ndjson", "lineasstring"}
TRAILING_FORMAT = re.compile(r"\bFORMAT\s+(\w+)\s*;?\s*$", re.I)
STATEFUL = re.compile(r"(SET|USE|BEGIN|COMMIT|ROLLBACK|CREATE\s+(OR\s+REPLACE\s+)?TEMPORARY)\b", re.I)
COMMENTS = re.compile(r"(\s+|--[^\n]*(\n|$)|/\*.*?\*/)+", re.S)


@dataclass(frozen=True)
class DataInsert:
    """An INSERT whose rows follow it as data: it up to its SETTINGS clause, that clause, and where the data starts."""

    target: str
    settings: str
    format: str
    data_at: int

    def from_file(self, path: str) -> str:
        """The same, with its rows in a file."""
        return f"{self.target} FROM INFILE {quoted(path)} COMPRESSION 'none' {self.settings} FORMAT {self.format}"


def data_insert(text: bytes) -> DataInsert | None:
    """The insert that `text` starts with, if its rows follow as data. None for every other statement."""
    depth, before, settings_at = 0, b"", None
    for token in TOKEN.finditer(text):
        kind, word = token.lastgroup, token[0].upper()
        if kind == "space":
            continue
        if kind == "open" or (not before and word != b"INSERT"):
            return None
        depth += {b"(": 1, b")": -1}.get(word, 0)
        if kind == "word" and depth == 0 and before not in NAME_FOLLOWS:
            if word in ROWS_INSIDE:
                return None
            if word == b"SETTINGS":
                settings_at = token.start()
            if word == b"FORMAT" and (name := FORMAT_AND_BREAK.match(text, token.end())):
                split = token.start() if settings_at is None else settings_at
                target, settings = text[:split].decode(), text[split : token.start()].decode()
                return DataInsert(target, settings, name[1].decode(), name.end())
        before = word
    return None


def without_leading_comments(sql: str) -> str:
    blank = COMMENTS.match(sql)
    return sql[blank.end() :] if blank else sql


def is_query(sql: str) -> bool:
    """Whether it is a SELECT, the only kind that the engine can stream."""
    return bool(re.match(r"\(|SELECT\b|WITH\b", without_leading_comments(sql), re.I))


def keeps_state(sql: str) -> bool:
    """Whether its only effect is on later statements of the same session."""
    return bool(STATEFUL.match(without_leading_comments(sql)))


def result_format(sql: str, default: str) -> tuple[str, bool]:
    """The format of the result, and whether it may be streamed.

    A FORMAT clause that is not at the very end is left to the engine: then we cannot be sure what comes out.
    """
    if form := TRAILING_FORMAT.search(sql):
        return form[1], form[1].lower() in STREAMABLE
    return default, default.lower() in STREAMABLE and not re.search(r"\bFORMAT\b", sql, re.I)


def quoted(text: str) -> str:
    """A string literal."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def quoted_name(text: str) -> str:
    return "`" + text.replace("\\", "\\\\").replace("`", "\\`") + "`"
