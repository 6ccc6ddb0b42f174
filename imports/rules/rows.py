"""PURE. What each column of a file is, what is wrong with a row, and the identify call that a good one becomes."""

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any, Literal

import msgspec

from identity.rules.extract import ACCOUNT_TYPE, identifiers, is_custom
from identity.rules.policy import Identifier, Policy
from imports.rules.files import Record
from spaces.times import iso

Use = Literal["identifier", "trait", "ignored"]
ValueType = Literal["text", "number", "boolean", "date"]
TYPES: dict[ValueType, str] = {"text": "Text", "number": "Number", "boolean": "Yes or no", "date": "Date"}
BOOLEANS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
LONGEST_ROW = 30_000  # bytes of the traits as JSON: a message may have 32 KB (spec/segment.md §3)
LONGEST_TRAIT = 200
SHOWN = 200  # characters of a value that is wrong
DIRECT = {"user_id": "userId", "anonymous_id": "anonymousId"}
EMAIL = re.compile(r"[^@\s]+@[^@\s]+")
WHY = {
    "blocked_value": "is blocked here: nobody is known by it",
    "blocked_pattern": "is blocked here: nobody is known by it",
    "too_long": "is longer than 500 characters",
    "not_text": "has a character that could not be read",
}


class ColumnUse(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """use: what a column is. name: of the identifier or the trait. type: what the values of a trait are."""

    use: Use
    name: str = ""
    type: ValueType = "text"


@dataclass(frozen=True)
class RowProblem:
    """column: "" = the whole row. rule: its name, for counts."""

    row: int
    column: str
    value: str
    rule: str
    sentence: str


@dataclass(frozen=True)
class GoodRow:
    """identifiers: as they are stored. message: the identify call but for its id, its time and, maybe, who calls."""

    row: int
    identifiers: tuple[Identifier, ...]
    message: dict[str, Any]


@dataclass
class Checked:
    """Rows of a part of a file, and where it ends."""

    good: list[GoodRow] = field(default_factory=list)
    problems: list[RowProblem] = field(default_factory=list)
    rejected: int = 0  # rows; each may have several problems
    row: int = 0
    end: int = 0

    @property
    def rows(self) -> int:
        return len(self.good) + self.rejected


def importable(policy: Policy) -> list[str]:
    """The identifiers that a column can be, most trusted first: what a device has no file would give."""
    known = {"user_id", "anonymous_id", "email"}
    return [type for type in policy.rank if type in known or (is_custom(type) and type != ACCOUNT_TYPE)]


def guessed(names: Sequence[str], samples: Sequence[Sequence[str]], policy: Policy) -> list[ColumnUse]:
    """What the columns are, by their names and by the first rows."""
    types = {_plain(type): type for type in importable(policy)} | {"email": "email", "emailaddress": "email"}
    uses: list[ColumnUse] = []
    taken: set[str] = set()
    for place, name in enumerate(names):
        type = types.get(_plain(name))
        if type and type not in taken:
            uses.append(ColumnUse("identifier", type))
            taken.add(type)
            continue
        values = [row[place].strip() for row in samples if place < len(row) and row[place].strip()]
        fits = (kind for kind in TYPES if kind != "text" and values and all(_fits(kind, one) for one in values))
        # Digits alone are as often a postcode as an amount: what could be a code stays text.
        uses.append(ColumnUse("trait", name, next((kind for kind in fits if not _is_code(values, kind)), "text")))
    return uses


def mapping_error(uses: Sequence[ColumnUse], names: Sequence[str], policy: Policy) -> tuple[int, str] | None:
    """The first column whose use is not possible, by its place, and why; None when all are."""
    if len(uses) != len(names):
        return 0, f"The file has {len(names)} columns, and {len(uses)} are named."
    possible, seen = importable(policy), set()
    for place, use in enumerate(uses):
        if use.use == "ignored":
            continue
        if use.use == "identifier" and use.name not in possible:
            return place, f"{use.name or 'It'} is no identifier of this space that a file can have."
        if use.use == "trait" and (not use.name.strip() or len(use.name) > LONGEST_TRAIT or "\0" in use.name):
            return place, f"A trait needs a name of up to {LONGEST_TRAIT} characters."
        if use.use == "trait" and use.name in policy.rank:
            return place, f"{use.name} is an identifier of this space: say so, or call the trait something else."
        if use.name in seen:
            return place, f"There are two columns for {use.name}."
        seen.add(use.name)
    if not any(use.use == "identifier" for use in uses):
        return 0, "One column at least must be an identifier: by it people are known."
    return None


def check(
    record: Record, names: Sequence[str], uses: Sequence[ColumnUse], policy: Policy
) -> GoodRow | list[RowProblem]:
    """The row as it is sent, or what is wrong with it."""
    if record.error:
        return [RowProblem(record.row, "", "", "unreadable", record.error)]
    if len(record.values) != len(names):
        sentence = f"The row has {len(record.values)} fields, and the header has {len(names)}."
        return [RowProblem(record.row, "", "", "fields", sentence)]
    problems: list[RowProblem] = []

    def wrong(name: str, value: str, rule: str, sentence: str) -> None:
        problems.append(RowProblem(record.row, name, value[:SHOWN], rule, sentence))

    ids: dict[str, tuple[str, str]] = {}  # type -> (column, value)
    traits: dict[str, Any] = {}
    for name, text, use in zip(names, record.values, uses, strict=True):
        value = text.strip()
        if not value or use.use == "ignored":  # blank is unknown: what is known of the person stays
            continue
        if use.use == "identifier":
            if use.name == "email" and not EMAIL.fullmatch(value):
                wrong(name, value, "email", "This is no e-mail address.")
            ids[use.name] = (name, value)
        elif use.type == "text":
            traits[use.name] = text
        elif _fits(use.type, value):
            traits[use.name] = read_value(use.type, value)
        else:
            wrong(name, value, use.type, f"This is no {TYPES[use.type].lower()}.")
    if not ids:
        wrong("", "", "no_identifier", "The row has no identifier: nobody can tell whom it is about.")
    if len(json.dumps(traits, ensure_ascii=False).encode()) > LONGEST_ROW:
        wrong("", "", "too_large", f"The row has more than {LONGEST_ROW:,} bytes.")
    message = _message({type: value for type, (_, value) in ids.items()}, traits)
    # By the very rules by which the space reads messages: what they set aside would be lost without a word.
    read = identifiers(message, policy)
    used = dict(read.user)
    for type, (name, value) in ids.items():
        if type not in used and not any(problem.column == name for problem in problems):
            why = next((one.why for one in read.blocked if one.type == type), "")
            wrong(name, value, f"identifier_{why or 'unknown'}", f"This {WHY.get(why, 'cannot be used')}.")
    return problems or GoodRow(record.row, read.user, message)


def identify(row: GoodRow, caller: Mapping[str, str], import_id: str, at: datetime) -> dict[str, Any]:
    """The call. caller: {"userId" or "anonymousId": …} by which its person is called, where the row has neither."""
    return {
        "type": "identify",
        "messageId": f"{import_id}-{row.row}",  # the same however often it is sent
        **caller,
        **row.message,
        "timestamp": iso(at),
    }


def read_value(type: ValueType, text: str) -> Any:
    """The value as JSON has it. Raises ValueError."""
    if type == "boolean":
        if text.lower() not in BOOLEANS:
            raise ValueError(text)
        return BOOLEANS[text.lower()]
    if type == "number":
        number = float(text) if re.search(r"[.eE]", text) else int(text)
        if not math.isfinite(number) or abs(number) >= 2**63:  # a larger one no store keeps
            raise ValueError(text)
        return number
    if type == "date":
        if len(text) == 10:
            return date.fromisoformat(text).isoformat()
        moment = datetime.fromisoformat(text)
        return iso(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    return text


def _message(ids: Mapping[str, str], traits: Mapping[str, Any]) -> dict[str, Any]:
    external = [
        {"id": value, "type": type, "collection": "users", "encoding": "none"}
        for type, value in ids.items()
        if type not in DIRECT and type != "email"
    ]
    return {
        **{DIRECT[type]: value for type, value in ids.items() if type in DIRECT},
        "traits": dict(traits) | ({"email": ids["email"]} if "email" in ids else {}),
        "context": {"library": {"name": "personas-imports"}} | ({"externalIds": external} if external else {}),
    }


def _fits(type: ValueType, text: str) -> bool:
    try:
        read_value(type, text)
    except ValueError:
        return False
    return True


def _is_code(values: Sequence[str], type: ValueType) -> bool:
    """0123 is no number, and 0 and 1 alone are no yes and no."""
    digits = [value for value in values if value.isdigit()]
    if type == "boolean":
        return len(digits) == len(values)
    return type == "number" and any(len(value) > 1 and value.startswith("0") for value in digits)


def _plain(name: str) -> str:
    """`User ID` and `userId` are user_id."""
    return re.sub(r"[^a-z0-9]", "", name.lower())
