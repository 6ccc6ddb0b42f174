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
        self.by_key = {}
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
        if what == "after":
            self.world.later(length(told))
        elif what == "in":
            self.is_in(set(told))
        elif what == "merge":
            visitor, user = told
            self.send("identify", anonymousId=visitor, userId=user)
        elif what == "switch":
            self.change("told", enabled=told)
        elif who == "edit":
            self.change(verb or "told", definition=told)
        elif verb == "has":
            for key, value in told.items():
                self.has(who, key, value)
        elif verb in ("is", "was"):
            ago, known = self.about(who, told)
            self.send("identify", ago, traits=told, **known)
        else:
            self.happens(who, {"event": told} if isinstance(told, str) else dict(told))

    def is_in(self, people):
        audience = self.newest("told")
        self.world.ticked()
        assert self.world.members(audience) == people
        assert not audience.enabled or self.world.asked(audience) == people

    def has(self, who, key, value):
        trait, space = self.newest(key), self.world.space
        self.world.ticked()
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

    def happens(self, who, told):
        event, (ago, known) = told.pop("event"), self.about(who, told)
        self.send("track", ago, event=event, properties=told, **known)

    def about(self, who, told):
        """How long ago, and by which identifier: taken out of what is told."""
        ago = length(told.pop("ago")) if "ago" in told else timedelta()
        return ago, {"userId": None, "anonymousId": who} if told.pop("anonymous", False) else {"userId": who}

    def send(self, type, ago=timedelta(), **fields):
        at = round((self.world.clock.now() - ago - NOON).total_seconds() * 1000)
        self.world.sent(message(type, at=at, **fields))
        self.world.ticked()


@pytest.mark.parametrize(("told", "steps"), STORIES)
def test_everybody_is_where_the_story_says(told, steps):
    story = Story(told)
    for step in steps:
        ((what, about),) = step.items()
        story.step(what, dict(about) if isinstance(about, dict) else about)
