"""PURE. Reads a part of a definition's JSON, and says by path what is wrong with it."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from spaces.text import is_storable

LONGEST_TEXT = 1000
LONGEST_NAME = 200  # archive cuts event names there; the key of a change set adds its prefix
INT64 = 2**63
EACH = "[]"  # behind a name: each element of the list there

# What `Fields.name` and `Fields.count` take, as JSON Schema.
NAME_SCHEMA: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": LONGEST_NAME}
COUNT_SCHEMA: dict[str, Any] = {"type": "integer", "minimum": 0, "maximum": 1_000_000_000}

Row = TypeVar("Row")


class DefinitionError(ValueError):
    """A definition that means nothing. `path` is where, such as `all[1].within`; empty = the whole."""

    def __init__(self, path: str, message: str) -> None:
        super().__init__(f"{path}: {message}" if path else message)
        self.path = path
        self.message = message


class JsonReader:
    """The fields of one JSON object, each taken once. `done` refuses what nobody took."""

    def __init__(self, value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise DefinitionError(path, "must be an object")
        # A copy: whoever reads it takes keys away.
        self._left = dict(value)
        self.path = path

    def at(self, name: str) -> str:
        return f"{self.path}.{name}" if self.path else name

    def __contains__(self, name: str) -> bool:
        return name in self._left

    def error(self, name: str, message: str) -> DefinitionError:
        return DefinitionError(self.at(name), message)

    def take(self, name: str) -> Any:
        if name not in self._left:
            raise self.error(name, "is missing")
        return self._left.pop(name)

    def name(self, name: str) -> str:
        value = text(self.take(name), self.at(name))
        if len(value) > LONGEST_NAME:
            raise self.error(name, f"must not be longer than {LONGEST_NAME} characters")
        return value

    def count(self, name: str, *, least: int) -> int:
        value = self.take(name)
        # In Python true is an int.
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= 1_000_000_000:
            raise self.error(name, f"must be a whole number from {least} to 1,000,000,000")
        return value

    def rows(self, name: str, read: Callable[[Any, str], Row], *, most: int) -> tuple[Row, ...]:
        """The list under `name`, each row read with its own path; empty when there is none."""
        if name not in self._left:
            return ()
        items = listed(self.take(name), self.at(name), most=most)
        return tuple(read(row, f"{self.at(name)}[{i}]") for i, row in enumerate(items))

    def done(self) -> None:
        if self._left:
            raise self.error(sorted(self._left)[0], "is not known here")


def listed(value: Any, path: str, *, most: int = 500) -> Sequence[Any]:
    if not isinstance(value, list) or not value:
        raise DefinitionError(path, "must be a list with at least one row")
    if len(value) > most:
        raise DefinitionError(path, f"must not have more than {most} rows")
    return value


def text(value: Any, path: str) -> str:
    """A text that is not empty, and that every store can hold."""
    if not isinstance(value, str) or not value:
        raise DefinitionError(path, "must be a text, not empty")
    _storable(value, path)
    return value


def scalar(value: Any, path: str) -> str | int | float | bool:
    """A text (it may be empty), a number or true or false."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str):
        _storable(value, path)
        return value
    return number(value, path)


def number(value: Any, path: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise DefinitionError(path, "must be a number")
    if not -INT64 < value < INT64:  # larger ones come out of jsonb as integers, whatever they were
        raise DefinitionError(path, "must be a number of 64 bits")
    return value


def _storable(value: str, path: str) -> None:
    if len(value) > LONGEST_TEXT:
        raise DefinitionError(path, f"must not be longer than {LONGEST_TEXT} characters")
    if not is_storable(value):
        raise DefinitionError(path, "must not hold characters that cannot be stored")
