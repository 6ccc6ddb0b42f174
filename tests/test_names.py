"""Names of tests are the same whenever they are collected; classes share none; and what says that it is pure is."""

import ast
import gzip
import re
import tomllib
from pathlib import Path

import pytest

from tests.conftest import pytest_make_parametrize_id
from tests.house import APPS, ROOT, classes, product

PURE = "Pure modules import neither Django nor Celery nor a driver"


def test_compressed_bytes_give_the_same_name_at_every_second() -> None:
    early, late = gzip.compress(b"body", mtime=1_700_000_000), gzip.compress(b"body", mtime=1_700_000_001)
    assert early != late
    assert pytest_make_parametrize_id(early, "body") == pytest_make_parametrize_id(late, "body") == "body-24-bytes"


@pytest.mark.parametrize("body", [gzip.compress(b"body")])
def test_pytest_asks_us_for_names(body: bytes, request: pytest.FixtureRequest) -> None:
    assert request.node.name.endswith("[body-24-bytes]")


def test_no_class_name_stands_for_several_things() -> None:
    trees = {path: ast.parse(path.read_text()) for path in product(APPS)}
    assert {name for name, count in classes(trees).items() if count > 1} == set()


def says_that_it_is_pure(text: str) -> bool:
    # Every worker asks it of every module before its first test: only those that have the word are parsed.
    word = re.compile(r"\bPURE\b")
    return bool(word.search(text) and word.search(ast.get_docstring(ast.parse(text)) or ""))


def module_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def contract() -> list[str]:
    """The modules, and packages with all that is in them, that may not import Django, Celery or a driver."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (listed,) = (each["source_modules"] for each in contracts if each["name"] == PURE)
    return list(listed)


PURE_MODULES = sorted(module_of(path) for path in product(APPS) if says_that_it_is_pure(path.read_text()))


@pytest.mark.parametrize("module", PURE_MODULES)
def test_what_says_that_it_is_pure_is_held_to_it(module: str) -> None:
    """`make check` proves it of the modules that the contract lists."""
    assert any(module == listed or module.startswith(f"{listed}.") for listed in contract())


def test_modules_that_say_so_are_looked_for_where_they_are() -> None:
    assert {"access.roles", "audiences.conditions", "sources.rules.spec"} <= set(PURE_MODULES)
