"""The tables of the reference, "How names are read" and "How values are read", are what happens: of properties and of
traits, from the request on, in whichever order and company the messages come, and again in a replay."""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from audiences.rules.compiler import SETTINGS, Asked, QueryScope, members
from audiences.rules.grammar import parse
from audiences.rules.operators import operators
from identity.history import scope_of
from sources.events import client
from sources.services import connect
from spaces.clock import FixedClock
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_identity import NOON, NOON_MS, listening, resolved
from tests.factories_sources import InboxFactory, archive_all

pytestmark = pytest.mark.django_db
REFERENCE = Path(__file__).parent.parent.parent / "docs" / "reference.md"
ON_PROPERTIES = operators(relative=False)
QUESTION = re.compile(rf"(?P<name>.+?) (?P<op>{'|'.join(ON_PROPERTIES)})(?: (?P<value>.+))?")


@dataclass(frozen=True)
class Case:
    """sent: the JSON of all properties, or of all traits. questions: with whether they are true of it."""

    sent: str
    questions: tuple[tuple[str, bool], ...]


def rows(heading):
    section = REFERENCE.read_text().split(f"### {heading}\n")[1].split("\n#")[0]
    lines = [line for line in section.splitlines() if line.startswith("| `")]
    return [[re.findall(r"`([^`]+)`", cell) for cell in line.strip("|").split(" | ")] for line in lines]


def cases():
    found = [(sent, row[-2:]) for row in rows("How names are read") for sent in row[0]]
    found += [(f'{{"p": {value}}}', row[-2:]) for row in rows("How values are read") for value in row[0]]
    return [
        Case(sent, tuple((each, True) for each in true) + tuple((each, False) for each in false))
        for sent, (true, false) in found
    ]


CASES = cases()


def definition(kind, question):
    asked = QUESTION.fullmatch(question).groupdict()
    value = {} if asked["value"] is None else {"value": json.loads(asked["value"])}
    if kind == "trait":
        return {"kind": "trait", "name": asked["name"], "op": asked["op"], **value}
    where = [{"property": asked["name"], "op": asked["op"], **value}]
    return {"kind": "event", "name": "Seen", "where": where}


def call(kind, number, sent):
    """The JSON of one message, of a person of its own."""
    ids = f'"userId": "u{number}", "messageId": "{kind}{number}", "timestamp": "{NOON.isoformat()}"'
    if kind == "trait":
        return f'{{"type": "identify", {ids}, "traits": {sent}}}'
    return f'{{"type": "track", "event": "Seen", {ids}, "properties": {sent}}}'


def posted(source, calls):
    """One request, archived."""
    body = f'{{"writeKey": "k", "batch": [{", ".join(calls)}]}}'
    InboxFactory(source=source, body=body.encode(), received_at=NOON)
    archive_all(source)


def truths(space, definitions):
    """For each definition the user ids of whom it is true."""
    scope = scope_of(space)
    query = "SELECT profile, arrayFirst(each -> each.1 = 'user_id', identifiers).2 FROM profile_events WHERE "
    users = dict(client.rows(query + scope.condition))
    found = []
    for start in range(0, len(definitions), 40):
        asked = [Asked(f"a{n}", parse(each)) for n, each in enumerate(definitions[start : start + 40])]
        at = QueryScope(space.workspace_id, space.pk, client.seen(scope.log), NOON_MS)
        answers = client.bitmaps(members(at, asked, {}), **SETTINGS)
        found += [{users[number] for number in answer} for answer in answers]
    return found


def test_the_tables_have_cases():
    assert len(CASES) > 80
    assert {QUESTION.fullmatch(each)["op"] for case in CASES for each, _ in case.questions} == set(
        operators(relative=False)
    )


@pytest.mark.parametrize("order", ["together", "reversed", "one by one"])
@pytest.mark.parametrize("kind", ["event", "trait"])
def test_names_and_values_are_read_as_the_reference_says(kind, order):
    """Every case is somebody's only message; a replay of the same reads the same."""
    space, again = SpaceFactory(), None
    source = SourceFactory(workspace=space.workspace)
    listening(space, source)
    calls = [call(kind, number, case.sent) for number, case in enumerate(CASES)]
    if order == "one by one":
        for start in range(0, len(calls), 7):
            posted(source, calls[start : start + 7][::-1])
            resolved(space)
    else:
        posted(source, calls[::-1] if order == "reversed" else calls)
        resolved(space)
    again = SpaceFactory(workspace=space.workspace)
    connect(again, [source], clock=FixedClock(NOON))
    resolved(again)

    questions = list(dict.fromkeys(each for case in CASES for each, _ in case.questions))
    definitions = [definition(kind, each) for each in questions]
    live, replayed = (dict(zip(questions, truths(each, definitions), strict=True)) for each in (space, again))
    wrong = [
        (case.sent, question, "should hold" if expected else "should not hold")
        for number, case in enumerate(CASES)
        for question, expected in case.questions
        if (f"u{number}" in live[question]) != expected
    ]
    assert not wrong, "\n".join(map(str, wrong))
    assert live == replayed
