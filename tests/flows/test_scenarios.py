"""What becomes of people, step by step, as `tests/scenarios` tells it: each audience with its stories.

`ann: Event` or `ann: {event: …, ago: 2 days, anonymous: true, account: acme, any: property}` happens;
`ann is: {trait: value}`; `ann was: {trait: value, ago: …}` arrives late; `ann joins: acme`, or `ann joins: {account:
acme, trait: value}` with traits of the account, is a group call, which `anonymous: true` makes a visitor's;
`merge: [visitor, ann]`; `after: 3 days` the clock has moved; `edit: definition`, or `edit key: definition` of another
audience or a computed trait; `switch: off` and `switch: on`;
`in: [ann]` is who is in the audience then, as it is kept and, unless it is switched off, as the full query says;
`ann has: {key: value}` are values of computed traits, kept and asked in the same way, null for none.

Other audiences and computed traits that it asks about stand under `audiences` and `traits`, by key; those of accounts
under `account audiences` and `account traits`. `of: accounts`: the audience is about accounts. `anonymous: true`
includes anonymous people; `history: false` counts only what happens after the story has begun.

The stories of a file happen side by side in one space, each with its own people and its own audiences: so what costs
most, ticks and full queries, is done for all of them at once.
"""

import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from audiences import queries, services, trait_values
from audiences.models import Audience
from audiences.rules.compiler import Asked
from identity.models import Identifier
from tests.factories import UserFactory
from tests.factories_audiences import World
from tests.factories_identity import NOON, message

pytestmark = pytest.mark.django_db

FOLDER = Path(__file__).parent.parent / "scenarios"
STORIES = {
    path.stem: {
        name: (told, steps)
        for told in yaml.safe_load_all(path.read_text())
        for name, steps in told["scenarios"].items()
    }
    for path in sorted(FOLDER.glob("*.yaml"))
}
TURNS = ["after", "edit", "in", "merge", "switch"]


def length(words: str) -> timedelta:
    count, unit = words.split()
    return timedelta(**{unit: float(count)})


class Stage:
    """The space in which all stories of a file happen, and what is on its way there."""

    def __init__(self) -> None:
        self.world, self.me = World(), UserFactory()
        self.on_the_way: list[dict[str, Any]] = []
        self.changed = True  # something is to be computed
        self.meant: dict[tuple[Any, str, bool], set[int]] = {}  # whom full queries gave since anything happened last

    def now(self) -> datetime:
        return self.world.clock.now()

    def settle(self, by: timedelta = timedelta()) -> None:
        """What is on its way has arrived, then so much time has passed, and everything is evaluated."""
        self.meant.clear()
        if self.on_the_way:
            self.world.sent(*self.on_the_way)
            self.on_the_way.clear()
        self.world.later(by)
        if self.changed:
            self.world.computed()
            self.changed = False

    def asked(self, audience: Audience) -> set[int]:
        """Who is meant now, by the full query."""
        node = audience.versions.latest("number").node
        key = node, audience.of, audience.include_anonymous
        if key not in self.meant:
            options = {"of": audience.of, "include_anonymous": audience.include_anonymous}
            self.meant[key] = set(queries.matching(self.world.space, node, now=self.now(), **options).members)
        return self.meant[key]


class Story:
    """Its people and its audiences bear its number, so that they are nobody else's."""

    def __init__(self, stage: Stage, number: int, told: dict[str, Any], steps: list[dict[str, Any]]) -> None:
        self.stage, self.mark, self.steps = stage, f"s{number}_", steps
        self.settled = True  # nothing of this story is on its way, or to be computed
        self.by_key: dict[str, Audience] = {}
        for of, whose in (("users", ""), ("accounts", "account ")):
            for key, definition in told.get(f"{whose}traits", {}).items():
                self.add(key, definition, kind=Audience.Kind.TRAIT, of=of)
            for key, definition in told.get(f"{whose}audiences", {}).items():
                self.add(key, definition, of=of)
        if "definition" in told:
            since = None if told.get("history", True) else stage.now()
            options = {"of": told.get("of", "users"), "include_anonymous": told.get("anonymous", False)}
            self.add("told", told["definition"], events_since=since, **options)

    def add(self, key: str, definition: Any, **fields: Any) -> None:
        self.by_key[key] = self.stage.world.audience(self.mark + key, self.marked(definition), **fields)

    def marked(self, definition: Any) -> Any:
        """With the names that the audiences and computed traits of this story have in the space."""
        if isinstance(definition, list):
            return [self.marked(part) for part in definition]
        if not isinstance(definition, dict):
            return definition
        name = {"audience": "key", "computed": "name"}.get(definition.get("kind", ""))
        told = {field: self.marked(value) for field, value in definition.items()}
        return told | {name: self.mark + told[name]} if name else told

    def play(self) -> Iterator[timedelta]:
        """Stops where everything must have arrived, and so much time passed, before it can go on."""
        for step in self.steps:
            ((what, about),) = step.items()
            about = dict(about) if isinstance(about, dict) else about
            who, _, verb = what.partition(" ")
            if verb in ("is", "was"):
                self.send("identify", who, about, "traits")
            elif verb == "joins":
                about = {"account": about} if isinstance(about, str) else about
                self.send("group", who, about, "traits", groupId=self.mark + about.pop("account"))
            elif who not in TURNS and verb != "has":
                about = {"event": about} if isinstance(about, str) else about
                context = {"context": {"groupId": self.mark + about.pop("account")}} if "account" in about else {}
                self.send("track", who, about, "properties", event=about.pop("event"), **context)
            else:
                if not self.settled:
                    yield timedelta()
                    self.settled = True
                if what == "after":
                    yield length(about)
                else:
                    self.turn(what, about)

    def turn(self, what: str, about: Any) -> None:
        """Everything that has happened is known."""
        who, _, verb = what.partition(" ")
        if what == "in":
            self.is_in(set(about))
        elif what == "merge":
            visitor, user = about
            self.send("identify", user, {}, "traits", anonymousId=self.mark + visitor)
        elif what == "switch":
            self.change("told", enabled=about)
        elif who == "edit":
            self.change(verb or "told", definition=self.marked(about))
        else:
            for key, value in about.items():
                self.has(who, key, value)

    def is_in(self, people: set[str]) -> None:
        audience = self.newest("told")
        assert set(self.names(queries.members(audience)).values()) == people
        assert not audience.enabled or set(self.names(self.stage.asked(audience)).values()) == people

    def has(self, who: str, key: str, value: Any) -> None:
        trait, space = self.newest(key), self.stage.world.space
        scope = queries.scope_of(space, queries.resolved(space), self.stage.now())
        (asked,) = trait_values.computed(scope, [Asked("", trait.serving.node, trait.include_anonymous, trait.of)])
        for values in (trait_values.kept(space, trait.pk), asked):
            told = {name: json.loads(values[number]) for number, name in self.names(values).items()}
            assert json.dumps(told.get(who)) == json.dumps(value)  # as text: in Python 1 and true are equal

    def names(self, numbers: Any) -> dict[int, str]:
        """Of those who are this story's. Those without a user id go by an anonymous id, accounts by their group id."""
        types = ["user_id", "anonymous_id", "group_id"]
        own = Identifier.objects.filter(space=self.stage.world.space, type__in=types, value__startswith=self.mark)
        names = dict(own.order_by("type").values_list("profile", "value"))
        return {number: names[number].removeprefix(self.mark) for number in names.keys() & set(numbers)}

    def change(self, key: str, **changes: Any) -> None:
        services.change_audience(self.newest(key), by=self.stage.me, **changes)
        self.stage.changed, self.settled = True, False

    def newest(self, key: str) -> Audience:
        return Audience.everything.get(pk=self.by_key[key].pk)

    def send(self, type: str, who: str, told: dict[str, Any], place: str, **fields: Any) -> None:
        """It is on its way. place: where the message holds what is told."""
        self.settled = False
        ago = length(told.pop("ago")) if "ago" in told else timedelta()
        at = round((self.stage.now() - ago - NOON).total_seconds() * 1000)
        name = self.mark + who
        known = {"userId": None, "anonymousId": name} if told.pop("anonymous", False) else {"userId": name}
        self.stage.on_the_way.append(message(type, at=at, **{place: told}, **known, **fields))


@cache
def told(file: str) -> dict[str, Exception | None]:
    """What went wrong in each story of the file; None when nothing did."""
    stage = Stage()
    playing: dict[str, tuple[Story, Iterator[timedelta], datetime]] = {}
    for number, (name, (about, steps)) in enumerate(STORIES[file].items()):
        story = Story(stage, number, about, steps)
        playing[name] = story, story.play(), stage.now()
    stage.settle()
    outcomes: dict[str, Exception | None] = dict.fromkeys(playing)
    while playing:
        for name, (story, steps, until) in list(playing.items()):
            if until > stage.now():
                continue
            try:
                playing[name] = story, steps, stage.now() + next(steps)
            except StopIteration:
                del playing[name]
            except Exception as error:
                outcomes[name] = error
                del playing[name]
        soonest = min((until for _, _, until in playing.values()), default=stage.now())
        stage.settle(soonest - stage.now())
    return outcomes


@pytest.mark.parametrize(
    ("file", "name"),
    [pytest.param(file, name, id=f"{file}: {name}") for file, stories in STORIES.items() for name in stories],
)
def test_everybody_is_where_the_story_says(file: str, name: str) -> None:
    if error := told(file)[name]:
        raise error
