"""What exists is written about: every setting, and every kind of what one can add by adding a file."""

import re
from pathlib import Path

import pytest

from access.roles import SPACE_ROLES, WORKSPACE_ROLES
from audiences.conditions import KINDS
from audiences.rules.operators import OPERATORS
from destinations.adapters import all_adapters

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()
REFERENCE = (ROOT / "docs" / "reference.md").read_text()
APPS = ("personas_site", "destinations", "audiences", "identity", "sources", "access", "spaces")
# Between our own processes, or for tests only.
INTERNAL = {"PERSONAS_FAULTS", "PERSONAS_REPORTS", "PERSONAS_SUPERVISED"}


def settings():
    code = "\n".join(path.read_text() for app in APPS for path in (ROOT / app).rglob("*.py"))
    return set(re.findall(r'"((?:PERSONAS|DATABASE|CLICKHOUSE|REDIS)_[A-Z_]+)"', code)) - INTERNAL


@pytest.mark.parametrize("setting", sorted(settings()))
def test_every_setting_is_in_the_readme(setting):
    assert f"`{setting}`" in README


def test_the_readme_names_no_setting_that_does_not_exist():
    named = set(re.findall(r"`((?:PERSONAS|DATABASE|CLICKHOUSE|REDIS)_[A-Z_]+)`", README))
    assert named == settings()


@pytest.mark.parametrize("kind", [*KINDS, *OPERATORS, *all_adapters(), *SPACE_ROLES, *WORKSPACE_ROLES])
def test_every_kind_is_in_the_reference(kind):
    assert f"`{kind}`" in REFERENCE


@pytest.mark.parametrize("page", ["README.md", "docs/reference.md"])
def test_files_that_a_page_names_exist(page):
    named = re.findall(r"`([a-z_/]+/[a-z_]+\.py|[a-z_]+(?:/[a-z_]+)*/)`", (ROOT / page).read_text())
    assert [name for name in named if not (ROOT / name).exists() and name != "var/"] == []


@pytest.mark.parametrize("page", ["README.md", "docs/guide.md"])
def test_pictures_that_a_page_shows_are_there(page):
    place = ROOT / page
    shown = re.findall(r"!\[.+?\]\((.+?)\)", place.read_text())
    assert shown
    assert [name for name in shown if not (place.parent / name).exists()] == []


def test_every_make_target_says_what_it_does():
    makefile = (ROOT / "Makefile").read_text()
    targets = re.findall(r"^([a-z]+):(.*)$", makefile, re.MULTILINE)
    assert {name for name, rest in targets if "##" not in rest} == set()
