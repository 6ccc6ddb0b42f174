"""What becomes of people, step by step, as `tests/scenarios` tells it: each audience with its stories.

`ann: Event` or `ann: {event: …, ago: 2 days, anonymous: true, any: property}` happens; `ann is: {trait: value}`;
`ann was: {trait: value, ago: …}` arrives late; `merge: [visitor, ann]`; `after: 3 days` the clock has moved;
`edit: definition`; `in: [ann]` is who is in the audience then, as it is kept and as the full query says. Other
audiences and computed traits that it asks about stand under `audiences` and `traits`, by key.
"""

from datetime import timedelta
from pathlib import Path

import pytest
import yaml

from audiences.models import Audience
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


class Story:
    def __init__(self, told):
        self.world = World()
        for key, definition in told.get("traits", {}).items():
            trait = self.world.audience(key, definition)
            Audience.objects.filter(pk=trait.pk).update(kind=Audience.Kind.TRAIT)
        for key, definition in told.get("audiences", {}).items():
            self.world.audience(key, definition)
        self.audience = self.world.audience("told", told["definition"])
        self.world.computed()

    def step(self, what, told):
        who, _, verb = what.partition(" ")
        if what == "after":
            self.world.later(length(told))
        elif what == "in":
            self.world.ticked()
            assert self.world.members(self.audience) == set(told)
            assert self.world.asked(Audience.objects.get(pk=self.audience.pk)) == set(told)
        elif what == "edit":
            self.world.version(self.audience, told)
            self.world.computed()
        elif what == "merge":
            visitor, user = told
            self.send("identify", anonymousId=visitor, userId=user)
        elif verb in ("is", "was"):
            ago = length(told.pop("ago")) if "ago" in told else timedelta()
            self.send("identify", ago, userId=who, traits=told)
        else:
            self.happens(who, {"event": told} if isinstance(told, str) else dict(told))

    def happens(self, who, told):
        event, ago = told.pop("event"), length(told.pop("ago")) if "ago" in told else timedelta()
        known = {"userId": None, "anonymousId": who} if told.pop("anonymous", False) else {"userId": who}
        self.send("track", ago, event=event, properties=told, **known)

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
