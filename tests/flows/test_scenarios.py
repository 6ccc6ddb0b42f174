"""What becomes of people, step by step, as `tests/scenarios` tells it: each audience with its stories.

`ann: Event` or `ann: {event: …, ago: 2 days, anonymous: true, account: acme, any: property}` happens;
`ann views: {page: Pricing, any: property}`, or `screen`; `ann is: {trait: value}`;
`ann was: {trait: value, ago: …}` arrives late; `ann joins: acme`, or `ann joins: {account:
acme, trait: value}` with traits of the account, is a group call, which `anonymous: true` makes a visitor's;
`merge: [visitor, ann]`; `after: 3 days` the clock has moved; `edit: definition`, or `edit key: definition` of another
audience or a computed trait; `switch: off` and `switch: on`;
`in: [ann]` is who is in the audience then, as it is kept and, unless it is switched off, as the full query says;
`ann has: {key: value}` are values of computed traits, kept and asked in the same way, null for none.

Other audiences and computed traits that it asks about stand under `audiences` and `traits`, by key; those of accounts
under `account audiences` and `account traits`. `of: accounts`: the audience is about accounts. `anonymous: true`
includes anonymous people; `history: false` counts only what happens after the story has begun.

The stories of a file happen side by side in one space, each with its own people and its own audiences: so what costs
most, ticks and full queries, is done for all of them at once: an answer is looked at when the next story needs things
to have changed.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from pyroaring import BitMap

from audiences import queries, services, trait_values
from audiences.evaluation import MOST_TRAITS
from audiences.models import Audience, Version
from audiences.rules.compiler import Asked
from identity.models import Identifier
from spaces.chunks import chunks
from tests.factories import UserFactory
from tests.factories_audiences import World
from tests.factories_identity import NOON, message

pytestmark = pytest.mark.django_db

FOLDER = Path(__file__).parent.parent / "scenarios"
STORIES = {
    path.stem: {
        name: (told, steps)
        for told in yaml.load_all(path.read_text(), getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # ten times as fast
        for name, steps in told["scenarios"].items()
    }
    for path in sorted(FOLDER.glob("*.yaml"))
}
TURNS = ["after", "edit", "in", "merge", "switch"]
Check = Callable[[dict[str, Any]], None]  # by name, what is known of whoever there is anything of
statements = queries._statements


def length(words: str) -> timedelta:
    count, unit = words.split()
    return timedelta(**{unit: float(count)})


class Stage:
    """The space in which all stories of a file happen, and what is on its way there."""

    def __init__(self) -> None:
        self.world, self.me = World(), UserFactory()
        self.on_the_way: list[dict[str, Any]] = []
        self.changed = True  # something is to be computed
        self.questions: list[tuple[Story, int, Check]] = []  # whose, the audience, what is to be true of its members
        self.meant: dict[Asked, Any] = {}  # what full queries gave since anything happened last

    def now(self) -> datetime:
        return self.world.clock.now()

    def settle(self, by: timedelta = timedelta()) -> None:
        """What is on its way has arrived, then so much time has passed, and everything is evaluated."""
        self.answer()
        self.meant.clear()
        if self.on_the_way:
            self.world.sent(*self.on_the_way)
            self.on_the_way.clear()
        self.world.later(by)
        if self.changed:
            self.world.computed()
            self.changed = False

    def answer(self) -> None:
        """Each question is answered, in as few statements as they go into: planning one costs more than it reads."""
        questions, self.questions = self.questions, []
        audiences = Audience.everything.select_related("serving").in_bulk({about for _, about, _ in questions})
        try:
            answers = self.memberships([one for one in audiences.values() if one.kind != Audience.Kind.TRAIT])
            answers |= self.values([one for one in audiences.values() if one.kind == Audience.Kind.TRAIT])
            types = ["user_id", "anonymous_id", "group_id"]
            own = Identifier.objects.filter(space=self.world.space, type__in=types).order_by("type")
            names = dict(own.values_list("profile", "value"))
        except Exception as error:
            for story, _, _ in questions:
                story.error = story.error or error
            return
        for story, about, check in questions:
            try:
                for values in answers[about]:
                    own = {number: name for number, name in names.items() if story.owns(name)}
                    check({own[number]: values[number] for number in own.keys() & values.keys()})
            except Exception as error:
                story.error = story.error or error

    def memberships(self, audiences: list[Audience]) -> dict[int, list[Mapping[int, Any]]]:
        """Who is in them, as it is kept, and unless they are switched off as the full query says."""
        kept = queries.members_of([audience.pk for audience in audiences])
        versions = Version.objects.filter(audience__in=audiences, audience__enabled=True).select_related("audience")
        newest = {version.audience_id: version for version in versions.order_by("number")}
        asked = {
            about: Asked("", version.node, version.audience.include_anonymous, version.audience.of)
            for about, version in newest.items()
        }
        anew = sorted(set(asked.values()) - self.meant.keys(), key=lambda one: (one.of, one.reach))
        space, others = self.world.space, {}
        for one in anew:
            others |= queries.others_of(space, one.definition, self.now())
        scope = queries.scope_of(space, queries.resolved(space), self.now())
        with pytest.MonkeyPatch.context() as patch:
            # Apart, as they are where there are many events, each of them would be planned on its own.
            patch.setattr(queries, "_statements", lambda *of, everyone: statements(*of, everyone=False))
            self.meant |= dict(zip(anew, queries.answer(scope, anew, others), strict=True))
        answers: dict[int, list[Mapping[int, Any]]] = {about: [dict.fromkeys(own)] for about, own in kept.items()}
        for about, one in asked.items():
            answers[about].append(dict.fromkeys(self.meant[one]))
        return answers

    def values(self, traits: list[Audience]) -> dict[int, list[Mapping[int, Any]]]:
        """Everybody's values, as they are kept and as the full query says."""
        if not traits:
            return {}
        space = self.world.space
        scope = queries.scope_of(space, queries.resolved(space), self.now())
        asked = {one.pk: Asked("values", one.serving.node, one.include_anonymous, one.of) for one in traits}
        for some in chunks(set(asked.values()) - self.meant.keys(), MOST_TRAITS):
            self.meant |= dict(zip(some, trait_values.computed(scope, some), strict=True))
        kept = trait_values.kept_of(space, [*asked])
        return {about: [kept[about], self.meant[one]] for about, one in asked.items()}


class Story:
    """Its people and its audiences bear its number, so that they are nobody else's."""

    def __init__(self, stage: Stage, number: int, told: dict[str, Any], steps: list[dict[str, Any]]) -> None:
        self.stage, self.mark, self.steps = stage, f"s{number}_", steps
        self.settled = True  # nothing of this story is on its way, or to be computed
        self.error: Exception | None = None  # what went wrong first
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
            elif verb == "views":
                view = "page" if "page" in about else "screen"
                self.send(view, who, about, "properties", name=about.pop(view))
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
        def check(members: dict[str, Any]) -> None:
            assert {name.removeprefix(self.mark) for name in members} == people

        self.ask("told", check)

    def has(self, who: str, key: str, value: Any) -> None:
        def check(values: dict[str, str]) -> None:
            told = json.loads(values.get(self.mark + who, "null"))
            assert json.dumps(told) == json.dumps(value)  # as text: in Python 1 and true are equal

        self.ask(key, check)

    def ask(self, key: str, check: Check) -> None:
        self.stage.questions.append((self, self.by_key[key].pk, check))

    def owns(self, name: str) -> bool:
        """Those without a user id go by an anonymous id, accounts by their group id."""
        return name.startswith(self.mark)

    def change(self, key: str, **changes: Any) -> None:
        self.stage.answer()  # as it was before
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
    with pytest.MonkeyPatch.context() as patch:
        # Nothing has happened yet, so that a full query of each of the audiences would find nobody.
        nobody = BitMap()
        patch.setattr(queries, "matching", lambda *_, now, log, **options: queries.Matched(nobody, now, log.end))
        stage.settle()
    stories = {name: story for name, (story, _, _) in playing.items()}
    while playing:
        for name, (story, steps, until) in list(playing.items()):
            if until > stage.now():
                continue
            try:
                playing[name] = story, steps, stage.now() + next(steps)
            except StopIteration:
                del playing[name]
            except Exception as error:
                story.error = story.error or error
                del playing[name]
        soonest = min((until for _, _, until in playing.values()), default=stage.now())
        stage.settle(soonest - stage.now())
    return {name: story.error for name, story in stories.items()}


@pytest.mark.parametrize(
    ("file", "name"),
    [pytest.param(file, name, id=f"{file}: {name}") for file, stories in STORIES.items() for name in stories],
)
def test_everybody_is_where_the_story_says(file: str, name: str) -> None:
    if error := told(file)[name]:
        raise error
