"""The eight steps of the quickstart as they stand: computed from what exists, never ticked off by hand. PURE."""

from collections.abc import Container, Sequence
from dataclasses import dataclass, replace

from destinations.rules.status import DIFFERS, FAILING, REFUSED, RETRYING, worst

DONE, CURRENT, LATER = "done", "current", "later"
# What does not pass by itself: somebody has to look at it. A delivery that is being retried is not among them.
LASTING = {FAILING: "Deliveries stopped", REFUSED: "People refused", DIFFERS: "Deliveries out of step"}


@dataclass(frozen=True)
class SpaceFacts:
    """What a space has. replaying: sources with a running replay; percent: how far these replays are, together.

    subscriptions: how many there are; of these, in_step, retrying, refused (some people were refused), differing
    (still out of step after everything was sent) and stopped (no call gets through).
    first_audience: its public id. first_subscription: the public ids of its audience and its own.
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
    first_subscription: tuple[str, ...] = ()

    @property
    def trouble(self) -> str:
        """The worst status among its deliveries that is not in order; "" when all are."""
        counts = {FAILING: self.stopped, REFUSED: self.refused, DIFFERS: self.differing, RETRYING: self.retrying}
        return worst(status for status, count in counts.items() if count)


@dataclass(frozen=True)
class WorkspaceFacts:
    """What the steps are computed from. dev, prod: the most advanced space of that kind; None = there is none."""

    dev: SpaceFacts | None = None
    prod: SpaceFacts | None = None
    members: int = 1
    invited: int = 0


@dataclass(frozen=True)
class ChecklistStep:
    """One step. pages: URL names of the pages it can be done on, best first. need: the permission it takes.

    space: the slug that the pages belong to; "" = they belong to the workspace.
    ids: public ids that the pages need as well, such as an audience's.
    optional: nothing depends on it, so it is skipped once a later step is done.
    """

    title: str
    text: str
    done: bool
    verb: str
    pages: tuple[str, ...]
    need: str
    space: str = ""
    optional: bool = False
    ids: tuple[str, ...] = ()
    number: int = 0
    state: str = LATER


def steps(facts: WorkspaceFacts, *, hidden: Container[int] = ()) -> list[ChecklistStep]:
    """The steps whose numbers are not hidden, in order, each with its state. At most one is current."""
    # Before there is a Dev space, the steps in it show what there will be to do, none of it done.
    dev = facts.dev or SpaceFacts("", "")
    everything = [create_dev_space(facts), invite_teammates(facts), *_steps_in(dev), create_prod_space(facts)]
    # Numbers are given before steps are hidden: each keeps the number that the quickstart gives it.
    shown = [replace(step, number=number) for number, step in enumerate(everything, 1) if number not in hidden]
    last_done = max((index for index, step in enumerate(shown) if step.done), default=-1)
    unfinished = [index for index, step in enumerate(shown) if not step.done]
    # An optional step that was passed over becomes current again only when nothing else is left to do.
    pressing = [index for index in unfinished if not shown[index].optional or index > last_done]
    current = next(iter([*pressing, *unfinished]), None)
    return [
        replace(step, state=DONE if step.done else CURRENT if index == current else LATER)
        for index, step in enumerate(shown)
    ]


def most_advanced(spaces: Sequence[SpaceFacts]) -> SpaceFacts | None:
    """The space with most steps done, which the checklist is then about; the first of several."""
    return max(spaces, key=lambda space: sum(step.done for step in _steps_in(space)), default=None)


def health(space: SpaceFacts) -> tuple[str, str]:
    """The most urgent thing about a space: a label of a word or two, and the tone of its pill."""
    if space.trouble in LASTING:
        return LASTING[space.trouble], "bad"
    # Delayed events come before retried deliveries, which may be late only because of them.
    if space.failures:
        return "Events delayed", "warn"
    if space.trouble:
        return "Retrying deliveries", "warn"
    if space.replaying:
        return f"Replaying, {space.percent:g} %", "busy"
    return ("Working", "good") if space.sources else ("No source yet", "")


def create_dev_space(facts: WorkspaceFacts) -> ChecklistStep:
    """Done when there is one."""
    title = "Create a Dev space"
    if facts.dev:
        text = f"{facts.dev.name} is your place to try things out."
        return ChecklistStep(title, text, True, title, ("space",), "space.read", facts.dev.slug)
    text = "A place to try things out, apart from what reaches real people."
    return ChecklistStep(title, text, False, title, ("space-new", "spaces", "workspace"), "workspace.manage")


def invite_teammates(facts: WorkspaceFacts) -> ChecklistStep:
    """Done when somebody else is in the workspace or has an invitation."""
    text = "Whoever sets up your sources, or will use your audiences. This one can wait."
    if facts.members > 1:
        text = f"{facts.members:,} people are in this workspace."
    elif facts.invited:
        text = f"{_count(facts.invited, 'invitation')} sent; nobody has accepted yet."
    # An invitation is enough: accepting it is up to somebody else.
    done = facts.members > 1 or facts.invited > 0
    pages = ("access", "workspace")
    return ChecklistStep("Invite teammates", text, done, "Invite people", pages, "workspace.manage", optional=True)


def _steps_in(space: SpaceFacts) -> list[ChecklistStep]:
    """The five steps that are done inside a space."""
    return [
        connect_sources(space),
        check_profiles(space),
        create_audience(space),
        connect_audience(space),
        check_deliveries(space),
    ]


def connect_sources(space: SpaceFacts) -> ChecklistStep:
    """Done when a source is connected and no replay is running any more."""
    text = "One or two that many people use, such as your website. Their last 30 days are replayed into the space."
    verb = "Connect a source"
    pages: tuple[str, ...] = ("space-connect", "space-sources")
    if space.replaying:
        text = f"The replay is at {space.percent:g} %, oldest events first. Wait for it before you judge what you see."
        verb, pages = "Watch the replay", ("space-sources",)
    elif space.sources:
        text = f"{_count(space.sources, 'source')} connected; the replay is complete and new events come in live."
        pages = ("space-sources",)
    # Another replay later undoes this step: until it ends, sizes are not complete.
    done = space.sources > 0 and not space.replaying
    return ChecklistStep("Connect production sources", text, done, verb, pages, "space.admin", space.slug)


def check_profiles(space: SpaceFacts) -> ChecklistStep:
    """Done when there are profiles to look at."""
    text = "Look at yourself and a few colleagues: are events, traits and identifiers those of one person?"
    if space.people:
        text = f"{_count(space.people, 'profile')}. {text}"
    # Whether somebody has looked at them cannot be known.
    done, pages = space.people > 0, ("profiles",)
    return ChecklistStep("Check your profiles", text, done, "Explore profiles", pages, "space.read", space.slug)


def create_audience(space: SpaceFacts) -> ChecklistStep:
    """Done when there is one, computed or not."""
    text = "Begin with one whose size you roughly know, such as everyone who signed up in the last 7 days."
    if space.audiences:
        text = f"{_count(space.audiences, 'audience')}, {space.computed:,} of them computed."
    done = space.audiences > 0
    pages: tuple[str, ...] = ("audiences",) if done else ("audience-new", "audiences")
    return ChecklistStep("Create an audience", text, done, "New audience", pages, "space.use", space.slug)


def connect_audience(space: SpaceFacts) -> ChecklistStep:
    """Done when calls get through on at least one subscription."""
    title = "Connect the audience to a destination"
    text = "Send it to a tool of yours, or to the catcher, which shows what a tool would receive."
    verb = "Choose a destination"
    pages: tuple[str, ...] = ("audience-connect", "audiences")
    # One that works is enough here; the next step looks at all of them.
    done = space.subscriptions > space.stopped
    if space.subscriptions:
        text = f"{_count(space.subscriptions, 'connection')} from an audience to a destination."
        verb, pages = "See the destinations", ("destinations",)
        if not done:
            text = f"{text} No call gets through on any of them."
    ids = (space.first_audience,)
    return ChecklistStep(title, text, done, verb, pages, "space.use", space.slug, ids=ids)


def check_deliveries(space: SpaceFacts) -> ChecklistStep:
    """Done when a subscription is in step and none needs attention."""
    text = "In step means: the destination has acknowledged every person in the audience."
    if space.stopped:
        text = f"{_count(space.stopped, 'delivery', 'deliveries')} stopped and waiting for you."
    elif space.refused:
        text = f"{_count(space.refused, 'destination')} refused some of the people."
    elif space.differing:
        text = f"{_count(space.differing, 'destination')} still out of step after everything was sent."
    elif space.in_step:
        text = f"{space.in_step:,} of {space.subscriptions:,} in step: everyone in the audience was acknowledged."
    # Retries pass by themselves: they leave the step done.
    lasting = space.trouble in LASTING
    pages: tuple[str, ...] = ("subscription", "deliveries")
    ids = space.first_subscription
    if lasting:
        # The trouble need not be with the first subscription: lead to the page that lists all of them.
        pages, ids = ("deliveries",), ()
    done = space.in_step > 0 and not lasting
    title, verb = "Check that it arrives", "See what arrived"
    return ChecklistStep(title, text, done, verb, pages, "space.read", space.slug, ids=ids)


def create_prod_space(facts: WorkspaceFacts) -> ChecklistStep:
    """Done when there is a Prod space that has everything that the steps before made in Dev."""
    title, prod = "Create your Prod space", facts.prod
    if prod is None:
        text = "When all of the audience arrives, do the same where it reaches real people."
        elsewhere = ("space-new", "spaces", "workspace")
        return ChecklistStep(title, text, False, "Create a Prod space", elsewhere, "workspace.manage")
    conditions = {
        "a connected source": prod.sources > 0,
        "the end of its replay": prod.replaying == 0,
        "an audience": prod.audiences > 0,
        "a destination": prod.subscriptions > 0,
        # These two are asked only of a space that has got that far: otherwise one gap would be listed twice.
        "a destination in step": prod.subscriptions == 0 or prod.in_step > 0,
        "deliveries that all get through": prod.in_step == 0 or prod.trouble not in LASTING,
    }
    missing = [name for name, met in conditions.items() if not met]
    text = f"{prod.name} has everything: sources, audiences, and a destination in step."
    if missing:
        *others, last = missing
        text = (
            f"{prod.name} still lacks {', '.join(others)} and {last}." if others else f"{prod.name} still lacks {last}."
        )
    pages = ("space-guide", "space")
    return ChecklistStep(title, text, not missing, "See what is missing", pages, "space.read", prod.slug)


def _count(number: int, singular: str, plural: str = "") -> str:
    return f"{number:,} {singular if number == 1 else plural or singular + 's'}"
