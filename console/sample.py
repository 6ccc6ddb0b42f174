"""Sample data, in with one click and out with one: a shop of 500 people and what they did in the last 30 days.

It takes the way of all data, so that a newcomer sees the real thing: through the inbox, the archive, a replay. A
row says how far it has come; whoever finds it (beat, once a second) goes on from there, whatever died meanwhile.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from django.db import IntegrityError, transaction

from access.services import COMMAND, ActorLike, NotPossible, create_space, delete_space
from audiences.services import create_audience
from console.models import Sample
from destinations.services import create_destination, subscribe
from quickstart.shop import MOBILE, SERVER, WEBSITE, Sent, Shop, Size
from sources import queries as read
from sources.collect import accept
from sources.inbox import Sender
from sources.models import Replay, Source
from sources.services import connect, create_source, delete_source
from spaces.batches import owning
from spaces.clock import clock
from spaces.models import Space, Workspace

SPACE = "Sample shop"
SOURCES = {WEBSITE: "Sample website", MOBILE: "Sample app", SERVER: "Sample server"}
SEED = 500
SIZE = Size(customers=400, visitors=100, messages=14_000)
PER_REQUEST = 250
SIGNED_UP = {"kind": "event", "name": "User Signed Up", "within": {"days": 7}}
ORDERED = {"kind": "event", "name": "Order Completed", "within": {"days": 7}}
AUDIENCES: Mapping[str, dict[str, Any]] = {
    "Signed up in the last 7 days": SIGNED_UP,
    "Signed up, no order in 7 days": {"all": [SIGNED_UP, {"not": ORDERED}]},
    "Pro customers": {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"},
}
State = Sample.State


def add_sample(workspace: Workspace, *, by: ActorLike) -> Sample:
    """The sample's space and sources exist, and its events are on their way. Raises NotPossible when it is there."""
    anchor = int(clock.now().timestamp() * 1000)
    total = len(_shop(anchor).distinct)
    try:
        with transaction.atomic():
            space = create_space(workspace, name=SPACE, kind=Space.Kind.DEV, by=by)
            made = {key: _source(workspace, key, by).pk for key in SOURCES}
            fields = {"space": space, "sources": made, "anchor": anchor, "total": total}
            return Sample.objects.create(workspace=workspace, **fields)
    except IntegrityError as error:
        raise NotPossible("The sample data is in this workspace already.") from error


def remove_sample(sample: Sample, *, by: ActorLike) -> None:
    """Its space and its sources are gone, with everything in them."""
    sources = list(Source.objects.filter(workspace=sample.workspace_id, pk__in=sample.sources.values()))
    delete_space(sample.space, by=by)
    sample.delete()  # nobody goes on filling it
    for source in sources:
        delete_source(source, by=by)


def unfinished() -> Iterable[int]:
    return Sample.objects.exclude(state=State.READY).values_list("pk", flat=True)


def go_on(pk: int) -> None:
    """The sample is as far as it can be now."""
    with owning(f"sample:{pk}") as mine:
        waiting = Sample.objects.select_related("space__workspace").exclude(state=State.READY)
        sample = waiting.filter(pk=pk).first() if mine else None
        if sample is not None:
            STEPS[State(sample.state)](sample)


def _send(sample: Sample) -> None:
    """What is not sent yet goes into the inbox, a request at a time, each noted with it."""
    senders = {key: Sender(pk, sample.workspace_id, True) for key, pk in sample.sources.items()}
    rest = _shop(sample.anchor).distinct[sample.sent :]
    for start in range(0, len(rest), PER_REQUEST):
        part = rest[start : start + PER_REQUEST]
        with transaction.atomic():
            for key, messages in _by_source(part).items():
                accept(senders[key], call="batch", body=_body(messages))
            if not Sample.objects.filter(pk=sample.pk).update(sent=sample.sent + start + len(part)):
                return transaction.set_rollback(True)  # it was removed
    _become(sample, State.ARCHIVING)


def _listen(sample: Sample) -> None:
    """Once everything is archived the space listens, and its past is replayed."""
    sources = list(Source.objects.filter(pk__in=sample.sources.values()))
    if any(fate.waiting for fate in read.fates(sources).values()):
        return
    with transaction.atomic():
        if _become(sample, State.REPLAYING):
            connect(sample.space, sources, clock=clock)


def _build(sample: Sample) -> None:
    """After the replay: audiences, a catcher, and what goes there."""
    if Replay.objects.filter(space=sample.space, state=Replay.State.RUNNING).exists():
        return
    with transaction.atomic():
        if not _become(sample, State.READY):
            return
        by = COMMAND
        asked = AUDIENCES.items()
        made = [create_audience(sample.space, name=name, definition=each, by=by) for name, each in asked]
        settings = {"style": "event"}
        catcher, _ = create_destination(sample.space, kind="catcher", name="Sample catcher", settings=settings, by=by)
        for audience in made[:2]:
            subscribe(audience, catcher, options={}, by=by)


STEPS = {State.SENDING: _send, State.ARCHIVING: _listen, State.REPLAYING: _build}


def _become(sample: Sample, state: State) -> bool:
    """Whether it was we who brought it there."""
    return bool(Sample.objects.filter(pk=sample.pk, state=sample.state).update(state=state))


def _shop(anchor: int) -> Shop:
    return Shop(seed=SEED, anchor=anchor, size=SIZE)


def _source(workspace: Workspace, key: str, by: ActorLike) -> Source:
    return create_source(workspace, name=SOURCES[key], kind=key, correct_clocks=False, by=by)


def _by_source(messages: Sequence[Sent]) -> dict[str, list[Sent]]:
    found: dict[str, list[Sent]] = defaultdict(list)
    for each in messages:
        found[each.source].append(each)
    return found


def _body(messages: Sequence[Sent]) -> bytes:
    rows = [each.message | {"messageId": each.message_id, "timestamp": _iso(each.at)} for each in messages]
    return json.dumps({"batch": rows}).encode()


def _iso(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")
