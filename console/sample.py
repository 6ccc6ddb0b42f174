"""Sample data, added with one click and removed with one: a shop of 500 people and their last 30 days.

The events take the same path as real ones (inbox, archive, replay), so what a newcomer sees is the product at work.
The Sample row says which phase has been reached; beat calls `advance_sample` every second until it is ready, and a
process that dies in between loses nothing.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from django.db import IntegrityError, transaction

from access.services import COMMAND, ActorLike, NotPossible, create_space, delete_space
from audiences.services import create_audience
from console.models import Sample
from destinations.services import create_destination, subscribe
from quickstart.shop import MOBILE, SERVER, WEBSITE, Sent, Shop, Size
from sources import queries as source_queries
from sources.collect import accept
from sources.inbox import Sender
from sources.models import Replay, Source
from sources.services import connect, create_source, delete_source
from spaces.batches import owning
from spaces.clock import clock
from spaces.models import Space, Workspace
from spaces.times import iso_of

SPACE = "Sample shop"
SOURCES = {WEBSITE: "Sample website", MOBILE: "Sample app", SERVER: "Sample server"}
SEED = 500  # any number does; with the same seed and anchor the shop has the same messages after a restart
SIZE = Size(customers=400, visitors=100, messages=14_000)
PER_REQUEST = 250  # messages; a small part of what one request may carry
SIGNED_UP = {"kind": "event", "name": "User Signed Up", "within": {"days": 7}}
ORDERED = {"kind": "event", "name": "Order Completed", "within": {"days": 7}}
AUDIENCES: Mapping[str, dict[str, Any]] = {
    "Signed up in the last 7 days": SIGNED_UP,
    "Signed up, no order in 7 days": {"all": [SIGNED_UP, {"not": ORDERED}]},
    "Pro customers": {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"},
}
CONNECTED_AUDIENCES = 2  # the first ones go to the catcher
Phase = Sample.Phase


def add_sample(workspace: Workspace, *, by: ActorLike) -> Sample:
    """The sample's space and sources exist; its events are sent in the background. Raises NotPossible if it exists."""
    anchor = int(clock.now().timestamp() * 1000)
    total = len(_generate_messages(anchor))
    try:
        with transaction.atomic():
            space = create_space(workspace, name=SPACE, kind=Space.Kind.DEV, by=by)
            sources = {
                key: create_source(workspace, name=name, kind=key, correct_clocks=False, by=by).pk
                for key, name in SOURCES.items()
            }
            return Sample.objects.create(workspace=workspace, space=space, sources=sources, anchor=anchor, total=total)
    except IntegrityError as error:
        raise NotPossible("The sample data is in this workspace already.") from error


def remove_sample(sample: Sample, *, by: ActorLike) -> None:
    """The sample's space and sources are deleted, with everything in them."""
    sources = list(Source.objects.filter(workspace=sample.workspace_id, pk__in=sample.sources.values()))
    delete_space(sample.space, by=by)
    # Before the sources: a phase that is running sees that the row is gone and rolls back what it was adding.
    sample.delete()
    for source in sources:
        delete_source(source, by=by)


def unfinished_samples() -> Iterable[int]:
    """The primary keys of samples that `advance_sample` still has work for."""
    return Sample.objects.exclude(state=Phase.READY).values_list("pk", flat=True)


def advance_sample(pk: int) -> None:
    """The sample is in the next phase if the present one is over. Nothing happens while another process works on it."""
    with owning(f"sample:{pk}") as owned:
        unfinished = Sample.objects.select_related("space__workspace").exclude(state=Phase.READY)
        sample = unfinished.filter(pk=pk).first() if owned else None
        if sample is not None:
            PHASES[Phase(sample.state)](sample)


def send_messages(sample: Sample) -> None:
    """Every message is in the inbox."""
    senders = {key: Sender(pk, sample.workspace_id, True) for key, pk in sample.sources.items()}
    unsent = _generate_messages(sample.anchor)[sample.sent :]
    for start in range(0, len(unsent), PER_REQUEST):
        batch = unsent[start : start + PER_REQUEST]
        by_source: dict[str, list[dict[str, Any]]] = defaultdict(list)
        for sent in batch:
            message = sent.message | {"messageId": sent.message_id, "timestamp": iso_of(sent.at)}
            by_source[sent.source].append(message)
        # The requests and the new count commit together: after a crash nothing is sent twice or left out.
        with transaction.atomic():
            for key, messages in by_source.items():
                accept(senders[key], call="batch", body=json.dumps({"batch": messages}).encode())
            if not Sample.objects.filter(pk=sample.pk).update(sent=sample.sent + start + len(batch)):
                return transaction.set_rollback(True)  # it was removed meanwhile
    _enter(Phase.ARCHIVING, sample)


def start_replay(sample: Sample) -> None:
    """Once everything is archived, the sources are connected to the space and their past is replayed."""
    sources = list(Source.objects.filter(pk__in=sample.sources.values()))
    if any(counts.waiting for counts in source_queries.count_messages(sources).values()):
        return
    with transaction.atomic():
        if _enter(Phase.REPLAYING, sample):
            connect(sample.space, sources, clock=clock)


def create_audiences(sample: Sample) -> None:
    """Once the replay is over, the space has audiences, a catcher, and two audiences connected to it."""
    if Replay.objects.filter(space=sample.space, state=Replay.State.RUNNING).exists():
        return
    space = sample.space
    with transaction.atomic():
        if not _enter(Phase.READY, sample):
            return
        audiences = [
            create_audience(space, name=name, definition=definition, by=COMMAND)
            for name, definition in AUDIENCES.items()
        ]
        settings = {"style": "event"}
        catcher, _ = create_destination(space, kind="catcher", name="Sample catcher", settings=settings, by=COMMAND)
        for audience in audiences[:CONNECTED_AUDIENCES]:
            subscribe(audience, catcher, options={}, by=COMMAND)


PHASES = {Phase.SENDING: send_messages, Phase.ARCHIVING: start_replay, Phase.REPLAYING: create_audiences}


def _enter(phase: Phase, sample: Sample) -> bool:
    """Whether this call brought the sample into the phase: False if it was removed or has moved on."""
    return bool(Sample.objects.filter(pk=sample.pk, state=sample.state).update(state=phase))


def _generate_messages(anchor: int) -> Sequence[Sent]:
    return Shop(seed=SEED, anchor=anchor, size=SIZE).distinct
