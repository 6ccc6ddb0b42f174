"""The eight steps of the quickstart, as they stand. PURE: what is done is read from facts, never ticked off by hand."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from destinations.rules.status import DIFFERS, FAILING, REFUSED, RETRYING, worst

DONE, CURRENT, LATER = "done", "current", "later"
LASTING = {FAILING: "Deliveries stopped", REFUSED: "People refused", DIFFERS: "Deliveries out of step"}


@dataclass(frozen=True)
class SpaceFacts:
    """What a space has. replaying: sources whose past still comes in; percent: of all running replays.

    subscriptions: of these so many are in step, are retried, have people that were refused, stay different whatever
    is said, or are stopped: no call gets through. first_audience: its id. first_way: the ids of an audience and of
    its subscription.
    """

    name: str
    slug: str
    sources: int = 0
    replaying: int = 0
    percent: float = 0.0
    failures: int = 0
    people: int = 0
    audiences: int = 0
    computed: int = 0
    subscriptions: int = 0
    in_step: int = 0
    retrying: int = 0
    refused: int = 0
    differing: int = 0
    stopped: int = 0
    first_audience: str = ""
    first_way: tuple[str, ...] = ()

    @property
    def trouble(self) -> str:
        """The worst that is to be said of its deliveries; "" when it is nothing."""
        counts = {FAILING: self.stopped, REFUSED: self.refused, DIFFERS: self.differing, RETRYING: self.retrying}
        return worst(status for status, count in counts.items() if count)


@dataclass(frozen=True)
class Facts:
    """What the steps are read from. dev, prod: the space of that kind that is farthest; None = there is none."""

    dev: SpaceFacts | None = None
    prod: SpaceFacts | None = None
    members: int = 1
    invited: int = 0


@dataclass(frozen=True)
class Step:
    """One step. pages: names of pages to do it on, the best first. space: the slug they are of; "" = the workspace's.

    ids: of the thing that the pages are about, an audience say.
    may_wait: it holds nobody up, so it is passed over once something after it is done.
    """

    title: str
    text: str
    done: bool
    verb: str
    pages: tuple[str, ...]
    need: str
    space: str = ""
    may_wait: bool = False
    ids: tuple[str, ...] = ()
    number: int = 0
    state: str = LATER


def steps(facts: Facts, *, hidden: Container[int] = ()) -> list[Step]:
    """All eight but those of these numbers, in order; the first that is not done is the current one."""
    dev = facts.dev or SpaceFacts("", "")
    found = [
        _dev_space(facts),
        _teammates(facts),
        _sources(dev),
        _profiles(dev),
        _audience(dev),
        _destination(dev),
        _in_step(dev),
        _prod_space(facts),
    ]
    shown = [replace(step, number=n) for n, step in enumerate(found, 1) if n not in hidden]
    at = _current(shown)
    states = [DONE if step.done else CURRENT if place == at else LATER for place, step in enumerate(shown)]
    return [replace(step, state=state) for step, state in zip(shown, states, strict=True)]


def reached(space: SpaceFacts) -> int:
    """How many of the steps in a space are done: what makes it the one that the checklist is about."""
    return sum(step(space).done for step in (_sources, _profiles, _audience, _destination, _in_step))


def farthest(spaces: Sequence[SpaceFacts]) -> SpaceFacts | None:
    """The one with most steps done; of several the first."""
    return max(spaces, key=reached, default=None)


def health(space: SpaceFacts) -> tuple[str, str]:
    """The worst that is to be said about a space: a word or two, and the tone that goes with it."""
    if space.trouble in LASTING:
        return LASTING[space.trouble], "bad"
    if space.failures:
        return "Events held up", "warn"
    if space.trouble:
        return "Deliveries retried", "warn"
    if space.replaying:
        return f"Replaying, {space.percent:g} %", "busy"
    return ("Working", "good") if space.sources else ("No source yet", "")


def _current(found: Sequence[Step]) -> int | None:
    last = max((place for place, step in enumerate(found) if step.done), default=-1)
    open_ = [place for place, step in enumerate(found) if not step.done]
    pressing = [place for place in open_ if not found[place].may_wait or place > last]
    return next(iter([*pressing, *open_]), None)


def _dev_space(facts: Facts) -> Step:
    text = "A place to try things out, apart from what reaches real people."
    if facts.dev:
        text = f"{facts.dev.name} is your place to try things out."
    return Step(
        "Create a Dev space",
        text,
        facts.dev is not None,
        "Create a Dev space",
        ("space",) if facts.dev else ("space-new", "spaces", "workspace"),
        "space.read" if facts.dev else "workspace.manage",
        facts.dev.slug if facts.dev else "",
    )


def _teammates(facts: Facts) -> Step:
    text = "Whoever sets up your sources, or will use your audiences. This one can wait."
    if facts.members > 1:
        text = f"{facts.members:,} people are in this workspace."
    elif facts.invited:
        text = f"{_count(facts.invited, 'invitation')} sent; nobody has accepted yet."
    done = facts.members > 1 or facts.invited > 0
    pages = ("access", "workspace")
    return Step("Invite teammates", text, done, "Invite people", pages, "workspace.manage", may_wait=True)


def _sources(space: SpaceFacts) -> Step:
    text = "One or two that many people use, such as your website. Their last 30 days are replayed into the space."
    verb = "Connect a source"
    pages: tuple[str, ...] = ("space-connect", "space-sources")
    if space.replaying:
        text = f"The replay is at {space.percent:g} %, oldest events first. Wait for it before you judge what you see."
        verb, pages = "Watch the replay", ("space-sources",)
    elif space.sources:
        text = f"{_count(space.sources, 'source')} connected; the replay is complete and new events come in live."
        pages = ("space-sources",)
    done = space.sources > 0 and not space.replaying
    return Step("Connect production sources", text, done, verb, pages, "space.admin", space.slug)


def _profiles(space: SpaceFacts) -> Step:
    text = "Look at yourself and a few colleagues: are events, traits and identifiers those of one person?"
    if space.people:
        text = f"{_count(space.people, 'profile')}. {text}"
    done = space.people > 0
    return Step("Check your profiles", text, done, "Explore profiles", ("profiles",), "space.read", space.slug)


def _audience(space: SpaceFacts) -> Step:
    text = "Begin with one whose size you roughly know, such as everyone who signed up in the last 7 days."
    if space.audiences:
        text = f"{_count(space.audiences, 'audience')}, {space.computed:,} of them computed."
    pages = ("audiences",) if space.audiences else ("audience-new", "audiences")
    return Step("Create an audience", text, space.audiences > 0, "New audience", pages, "space.use", space.slug)


def _destination(space: SpaceFacts) -> Step:
    text = "Send it to a tool of yours, or to the catcher, which shows what a tool would receive."
    if space.subscriptions:
        text = f"{_count(space.subscriptions, 'way')} from an audience to a destination."
    done = space.subscriptions > space.stopped
    if space.subscriptions and not done:
        text = f"{text} No call gets through on any of them."
    verb = "See the destinations" if space.subscriptions else "Choose a destination"
    pages = ("destinations",) if space.subscriptions else ("audience-connect", "audiences")
    ids = (space.first_audience,)
    title = "Connect the audience to a destination"
    return Step(title, text, done, verb, pages, "space.use", space.slug, ids=ids)


def _in_step(space: SpaceFacts) -> Step:
    text = "In step means: the destination has acknowledged every person in the audience."
    if space.stopped:
        text = f"{_count(space.stopped, 'delivery', 'deliveries')} stopped and waiting for you."
    elif space.refused:
        text = f"{_count(space.refused, 'destination')} refused some of the people."
    elif space.differing:
        text = f"{_count(space.differing, 'destination')} stayed different from the audience, whatever was sent."
    elif space.in_step:
        text = f"{space.in_step:,} of {space.subscriptions:,} in step: everyone in the audience was acknowledged."
    lasting = space.trouble in LASTING
    pages: tuple[str, ...] = ("subscription", "deliveries")
    ids = space.first_way
    if lasting:  # on the page of all of them, not on that of the first
        pages, ids = ("deliveries",), ()
    done = space.in_step > 0 and not lasting
    return Step("Check that it arrives", text, done, "See what arrived", pages, "space.read", space.slug, ids=ids)


def _prod_space(facts: Facts) -> Step:
    if facts.prod is None:
        text = "When all of the audience arrives, do the same where it reaches real people."
        new = ("space-new", "spaces", "workspace")
        return Step("Create your Prod space", text, False, "Create a Prod space", new, "workspace.manage")
    missing = _missing(facts.prod)
    text = f"{facts.prod.name} has everything: sources, audiences, and a destination in step."
    if missing:
        text = f"{facts.prod.name} still lacks {_listed(missing)}."
    pages = ("space-guide", "space")
    return Step(
        "Create your Prod space", text, not missing, "See what is missing", pages, "space.read", facts.prod.slug
    )


def _missing(space: SpaceFacts) -> list[str]:
    lacking = [
        ("a connected source", space.sources == 0),
        ("the end of its replay", space.replaying > 0),
        ("an audience", space.audiences == 0),
        ("a destination", space.subscriptions == 0),
        ("a destination in step", space.subscriptions > 0 and space.in_step == 0),
        ("deliveries that all get through", space.in_step > 0 and space.trouble in LASTING),
    ]
    return [what for what, missing in lacking if missing]


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def _listed(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
