"""What becomes of people, step by step, as `tests/scenarios` tells it: each audience with its stories.

`ann: Event` or `ann: {event: …, ago: 2 days, anonymous: true, any: property}` happens; `ann is: {trait: value}`;
`ann was: {trait: value, ago: …}` arrives late; `merge: [visitor, ann]`; `after: 3 days` the clock has moved;
`edit: definition`, or `edit key: definition` of another audience or a computed trait; `switch: off` and `switch: on`;
`in: [ann]` is who is in the audience then, as it is kept and, unless it is switched off, as the full query says;
`ann has: {key: value}` are values of computed traits, kept and asked in the same way, null for none.

Other audiences and computed traits that it asks about stand under `audiences` and `traits`, by key. `anonymous: true`
includes anonymous people; `history: false` counts only what happens after the story has begun.
"""

import json
from datetime import timedelta
from pathlib import Path

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

STORIES = [
    pytest.param(told, steps, id=f"{path.stem}: {name}")
    for path in sorted((Path(__file__).parent.parent / "scenarios").glob("*.yaml"))
    for told in yaml.safe_load_all(path.read_text())
    for name, steps in told["scenarios"].items()
]
TURNS = ["after", "edit", "in", "merge", "switch"]


def length(words: str) -> timedelta:
    count, unit = words.split()
    return timedelta(**{unit: float(count)})


class PeopleByName(World):
    """Those without a user id go by an anonymous id."""

    def users(self, numbers):
        every = Identifier.objects.filter(space=self.space, type__in=["user_id", "anonymous_id"]).order_by("type")
        names = dict(every.values_list("profile", "value"))
        return {names[number] for number in numbers}


class Story:
    def __init__(self, told):
        self.world, self.me = PeopleByName(), UserFactory()
        self.by_key, self.on_the_way = {}, []
        for key, definition in told.get("traits", {}).items():
            self.add(key, definition, kind=Audience.Kind.TRAIT)
        for key, definition in told.get("audiences", {}).items():
            self.add(key, definition)
        if "definition" in told:
            since = None if told.get("history", True) else self.world.clock.now()
            self.add("told", told["definition"], include_anonymous=told.get("anonymous", False), events_since=since)
        self.world.computed()

    def add(self, key, definition, **fields):
        self.by_key[key] = self.world.audience(key, definition, **fields)

    def step(self, what, told):
        who, _, verb = what.partition(" ")
        if verb in ("is", "was"):
            self.send("identify", who, told, "traits")
        elif who not in TURNS and verb != "has":
            told = {"event": told} if isinstance(told, str) else told
            self.send("track", who, told, "properties", event=told.pop("event"))
        else:
            self.arrive()
            self.turn(what, told)

    def turn(self, what, told):
        """Everything that has happened is known."""
        who, _, verb = what.partition(" ")
        if what == "after":
            self.world.later(length(told))
        elif what == "in":
            self.is_in(set(told))
        elif what == "merge":
            visitor, user = told
            self.send("identify", user, {}, "traits", anonymousId=visitor)
            self.arrive()
        elif what == "switch":
            self.change("told", enabled=told)
        elif who == "edit":
            self.change(verb or "told", definition=told)
        else:
            for key, value in told.items():
                self.has(who, key, value)

    def is_in(self, people):
        audience = self.newest("told")
        assert self.world.members(audience) == people
        assert not audience.enabled or self.world.asked(audience) == people

    def has(self, who, key, value):
        trait, space = self.newest(key), self.world.space
        scope = queries.scope_of(space, queries.resolved(space), self.world.clock.now())
        (asked,) = trait_values.computed(scope, [Asked("", trait.serving.node, trait.include_anonymous)])
        for values in (trait_values.kept(space, trait.pk), asked):
            told = {name: json.loads(values[number]) for number in values for name in self.world.users([number])}
            assert json.dumps(told.get(who)) == json.dumps(value)  # as text: in Python 1 and true are equal

    def change(self, key, **changes):
        services.change_audience(self.newest(key), by=self.me, **changes)
        self.world.computed()

    def newest(self, key):
        return Audience.everything.get(pk=self.by_key[key].pk)

    def send(self, type, who, told, place, **fields):
        """It is on its way. place: where the message holds what is told."""
        ago = length(told.pop("ago")) if "ago" in told else timedelta()
        at = round((self.world.clock.now() - ago - NOON).total_seconds() * 1000)
        known = {"userId": None, "anonymousId": who} if told.pop("anonymous", False) else {"userId": who}
        self.on_the_way.append(message(type, at=at, **{place: told}, **known, **fields))

    def arrive(self):
        """What happened since the last turn of the story arrives in one batch, in that order."""
        if self.on_the_way:
            self.world.sent(*self.on_the_way)
            self.world.ticked()
        self.on_the_way = []


@pytest.mark.parametrize(("told", "steps"), STORIES)
def test_everybody_is_where_the_story_says(told, steps):
    story = Story(told)
    for step in steps:
        ((what, about),) = step.items()
        story.step(what, dict(about) if isinstance(about, dict) else about)
