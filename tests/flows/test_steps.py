"""Tokens and lists that a tool must be asked for first: each asked for once, whoever is killed over it."""

import json
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Annotated, Any
from urllib.parse import parse_qs, urlsplit

import pytest
from django.db import connection, connections

from access.services import COMMAND
from audiences.models import Audience
from destinations import services, steps, sync
from destinations.adapters import all_adapters
from destinations.models import RememberedValues, Subscription
from destinations.rules.contract import (
    Adapter,
    AdapterStep,
    CallOutcome,
    Capabilities,
    DestinationRequest,
    IdentifierChange,
    PayloadComputation,
    RememberedAnswer,
    outcome_of,
)
from destinations.rules.oauth import bearer, token_step
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import decoded, json_request
from destinations.sync import Sync
from spaces import batches
from spaces.answers import Answer
from spaces.clock import FixedClock
from spaces.secrets import open_sealed
from spaces.settings_schema import SettingsDeclaration, secret, text
from tests.factories import SpaceFactory
from tests.factories_destinations import AudienceFactory, change, make_destination, make_person, make_subscription
from tests.flows.test_gaps import synced
from tests.flows.test_sync_kills import killed
from tests.receiver import Got, Receiver, Reply, receiving

pytestmark = pytest.mark.django_db(transaction=True)


class ListsSettings(SettingsDeclaration, frozen=True):
    server: Annotated[str, text("Server")]
    client_secret: Annotated[str, secret("Secret")] = "client-secret"


class ListsOptions(SettingsDeclaration, frozen=True):
    pass


def find(about: PayloadComputation, settings: Any, options: Any, now: datetime) -> DestinationRequest:
    return DestinationRequest(id="find", rows=[], method="GET", url=f"{settings.server}/lists?name={about.key}")


def create(about: PayloadComputation, settings: Any, options: Any, now: datetime) -> DestinationRequest:
    return json_request(f"{settings.server}/lists", {"name": about.key}, id="create", rows=[])


def read_list(request: DestinationRequest, answer: Answer) -> RememberedAnswer | CallOutcome:
    if not answer.ok:
        return outcome_of(answer)
    id = decoded(answer.body).get("id")
    return RememberedAnswer({"list_id": id} if id else {})


def plan(
    changes: Sequence[IdentifierChange], about: PayloadComputation, settings: Any, options: Any, now: datetime
) -> list[DestinationRequest]:
    content = {
        name: [row.address.user_id for row in changes if row.entering == entering]
        for name, entering in (("add", True), ("remove", False))
    }
    url = f"{settings.server}/lists/{about.remembered['list_id']}"
    return [json_request(url, content, id=batch_id(changes), rows=changes)]


LISTS = Adapter(
    kind="lists",
    label="Lists",
    description="A tool with tokens and lists.",
    settings=ListsSettings,
    options=ListsOptions,
    capabilities=Capabilities(styles=("list",), batch=100, identifiers=("user_id",)),
    plan=plan,
    test=lambda settings, now: DestinationRequest(id="test", rows=[], method="GET", url=f"{settings.server}/me"),
    steps=(
        token_step(lambda settings: f"{settings.server}/token", lambda settings, _: {"secret": settings.client_secret}),
        AdapterStep("list_id", find, read_list),
        AdapterStep("list_id", create, read_list),
    ),
    authorize=bearer,
)


@dataclass
class ListTool:
    """It takes the newest token alone. after: says what to do once it has done what it was asked."""

    tokens: int = 0
    lists: dict[str, tuple[str, set[str]]] = field(default_factory=dict)
    padding: str = ""  # of what is said of lists
    lost: str = ""  # the first answer to this path is lost
    calls: list[str] = field(default_factory=list)
    lock: Any = field(default_factory=threading.Lock)

    def __call__(self, got: Got) -> Reply:
        with self.lock:
            url = urlsplit(got.path)
            self.calls.append(f"{got.method} {url.path}")
            reply = self.take(url.path, parse_qs(url.query), got)
            if self.lost and self.calls[-1] == self.lost:
                self.lost = ""
                return Reply(502)
            return reply

    def take(self, path: str, query: dict[str, list[str]], got: Got) -> Reply:
        if path == "/token":
            self.tokens += 1
            return said({"access_token": f"token-{self.tokens}-secret", "expires_in": 600})
        if got.headers.get("authorization") != f"Bearer token-{self.tokens}-secret":
            return Reply(401, b"who are you?")
        if path == "/me":
            return said({})
        if path == "/lists" and got.method == "GET":
            (name,) = query["name"]
            return said(
                {"padding": self.padding, "id": next((id for id, (own, _) in self.lists.items() if own == name), None)}
            )
        if path == "/lists":
            id = f"list-{len(self.lists) + 1}"
            self.lists[id] = (got.json["name"], set())
            return said({"id": id})
        _, members = self.lists[path.rsplit("/", 1)[1]]
        members |= set(got.json["add"])
        members -= set(got.json["remove"])
        return said({})


def said(content: Any) -> Reply:
    return Reply(200, json.dumps(content).encode())


@pytest.fixture
def receiver(settings: Any, monkeypatch: pytest.MonkeyPatch) -> Iterator[Receiver]:
    monkeypatch.setitem(all_adapters(), "lists", LISTS)
    monkeypatch.setattr(batches, "MANY_DEATHS", 1_000)
    with receiving() as server:
        settings.OUTBOUND_ALLOW = [server.place]
        yield server


@pytest.fixture
def tool(receiver: Receiver) -> ListTool:
    receiver.answer = ListTool()
    return receiver.answer


@pytest.fixture
def audience() -> Audience:
    return AudienceFactory(space=SpaceFactory(), key="shoppers")


def subscribed(audience: Audience, receiver: Receiver) -> Subscription:
    destination = make_destination(audience.space, "lists", server=f"http://{receiver.place}")
    return make_subscription(audience, destination)


def people(audience: Audience, *names: str) -> list[int]:
    return [make_person(audience.space, ("user_id", name)) for name in names]


def test_a_list_is_looked_for_then_created_then_known(
    audience: Audience, receiver: Receiver, tool: ListTool, clock: FixedClock
) -> None:
    subscription = subscribed(audience, receiver)
    change(audience, entered=people(audience, "u1", "u2"))
    synced(subscription, clock)
    change(audience, entered=people(audience, "u3"))
    assert synced(subscription, clock).status == Subscription.Status.IN_STEP
    assert tool.lists == {"list-1": ("shoppers", {"u1", "u2", "u3"})}
    assert tool.calls == ["POST /token", "GET /lists", "POST /lists", "POST /lists/list-1", "POST /lists/list-1"]
    rows = RememberedValues.objects.filter(destination=subscription.destination)
    assert {name for row in rows for name in open_sealed(row.sealed)} == {"access_token", "list_id"}


def test_an_answer_that_is_long_is_read_to_its_end(
    audience: Audience, receiver: Receiver, tool: ListTool, clock: FixedClock
) -> None:
    """A tool with so many lists that naming them takes more than of any other answer is kept."""
    tool.padding = "x" * 200_000
    subscription = subscribed(audience, receiver)
    change(audience, entered=people(audience, "u1"))
    assert synced(subscription, clock).status == Subscription.Status.IN_STEP


def test_a_lost_answer_makes_no_second_list(
    audience: Audience, receiver: Receiver, tool: ListTool, clock: FixedClock
) -> None:
    tool.lost = "POST /lists"
    subscription = subscribed(audience, receiver)
    change(audience, entered=people(audience, "u1"))
    assert synced(subscription, clock).status == Subscription.Status.RETRYING
    assert "502" in subscription.error
    clock.advance(timedelta(minutes=1))
    assert synced(subscription, clock).status == Subscription.Status.IN_STEP
    assert tool.lists == {"list-1": ("shoppers", {"u1"})}


@pytest.mark.parametrize("after_calls", [1, 2, 3, 4])
def test_killed_at_a_step_makes_no_second_list(
    after_calls: int, audience: Audience, receiver: Receiver, tool: ListTool, clock: FixedClock
) -> None:
    subscription = subscribed(audience, receiver)
    change(audience, entered=people(audience, "u1", "u2"))
    assert killed(subscription, receiver=receiver, after_calls=after_calls, answer=tool)
    after = synced(subscription, clock)
    # PostgreSQL takes its time to notice who was killed, and until then the steps are somebody else's.
    for _ in range(12):
        if (after.status, after.error) != (Subscription.Status.RETRYING, ""):
            break
        clock.advance(timedelta(minutes=1))
        after = synced(subscription, clock)
    assert (after.status, after.error) == (Subscription.Status.IN_STEP, "")
    assert tool.lists == {"list-1": ("shoppers", {"u1", "u2"})}


def test_a_token_is_asked_for_once_for_all_that_goes_there(
    audience: Audience, receiver: Receiver, tool: ListTool, clock: FixedClock
) -> None:
    first = subscribed(audience, receiver)
    second = make_subscription(AudienceFactory(space=audience.space, key="others"), first.destination)
    change(audience, entered=people(audience, "u1"))
    change(second.audience, entered=people(audience, "u2"))
    together = threading.Barrier(2)

    def work(subscription: Subscription) -> None:
        together.wait()
        log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
        batches.advance(Sync(clock), log)
        connections.close_all()

    threads = [threading.Thread(target=work, args=(one,)) for one in (first, second)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert tool.tokens == 1
    assert dict(tool.lists.values()) == {"shoppers": {"u1"}, "others": {"u2"}}
    clock.advance(timedelta(minutes=9, seconds=1))  # less than a minute before its end
    change(audience, entered=people(audience, "u3"))
    assert synced(first, clock).status == Subscription.Status.IN_STEP
    assert tool.tokens == 2


def test_no_transaction_is_open_while_a_tool_is_asked(
    audience: Audience, receiver: Receiver, tool: ListTool, clock: FixedClock
) -> None:
    """Whoever changes the destination meanwhile waits for nobody, and what the tool then says is not kept."""
    subscription = subscribed(audience, receiver)
    change(audience, entered=people(audience, "u1"))

    def answer(got: Got) -> Reply:
        if got.path == "/token":  # in a thread of the receiver, with a connection of its own
            try:
                with connection.cursor() as cursor:
                    cursor.execute("SET lock_timeout = '3s'")
                    cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'")
                    in_transactions.append(cursor.fetchone()[0])
                services.change_destination(subscription.destination, settings={}, by=COMMAND)
            finally:
                connection.close()
        return tool(got)

    in_transactions: list[int] = []
    receiver.answer = answer
    assert synced(subscription, clock).status == Subscription.Status.IN_STEP
    assert in_transactions == [0]
    assert not RememberedValues.objects.filter(subscription=None).exists()


def test_who_waits_too_long_for_another_process_goes_later_and_nothing_has_failed(
    audience: Audience, receiver: Receiver, tool: ListTool, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(steps, "LOCKED_S", 0.0)
    subscription = subscribed(audience, receiver)
    change(audience, entered=people(audience, "u1"))
    with batches.owning(f"steps:{subscription.destination_id}:destination") as theirs:
        assert theirs
        log = batches.open_log(stage="sync", partition=subscription.pk, workspace_id=subscription.workspace_id)
        batches.advance(Sync(clock), log)
        assert not services.test_destination(subscription.destination, now=clock.now()).ok
    subscription.refresh_from_db()
    assert tool.calls == []
    assert (subscription.failures, subscription.error) == (0, "")
    assert subscription.retry_at == clock.now() + timedelta(seconds=sync.BUSY_S)
    clock.advance(timedelta(seconds=sync.BUSY_S))
    assert synced(subscription, clock).status == Subscription.Status.IN_STEP


def test_a_token_that_was_called_back_is_asked_for_once_more(
    audience: Audience, receiver: Receiver, tool: ListTool, clock: FixedClock
) -> None:
    subscription = subscribed(audience, receiver)
    change(audience, entered=people(audience, "u1"))
    synced(subscription, clock)
    tool.tokens += 1
    change(audience, entered=people(audience, "u2"))
    assert synced(subscription, clock).status == Subscription.Status.RETRYING
    clock.advance(timedelta(minutes=1))
    assert synced(subscription, clock).status == Subscription.Status.IN_STEP
    # Whoever gives tokens that he does not take himself is not asked again and again.
    receiver.answer = lambda got: tool(got) if got.path == "/token" else Reply(401, b"no")
    change(audience, entered=people(audience, "u3"))
    for _ in range(2):
        synced(subscription, clock)
        clock.advance(timedelta(minutes=1))
    assert subscription.status == Subscription.Status.SUSPENDED


def test_what_was_remembered_ends_with_the_settings_and_with_a_resync(
    audience: Audience, receiver: Receiver, tool: ListTool, clock: FixedClock
) -> None:
    subscription = subscribed(audience, receiver)
    change(audience, entered=people(audience, "u1"))
    synced(subscription, clock)
    tool.lists.clear()  # somebody deletes it over there
    services.resync(subscription, by=COMMAND)
    synced(subscription, clock)
    assert tool.lists == {"list-1": ("shoppers", {"u1"})}
    services.change_destination(subscription.destination, settings={"clientSecret": "another-secret"}, by=COMMAND)
    assert not RememberedValues.objects.filter(destination=subscription.destination).exists()


def test_a_test_call_has_a_token(audience: Audience, receiver: Receiver, tool: ListTool, clock: FixedClock) -> None:
    destination = subscribed(audience, receiver).destination
    assert services.test_destination(destination, now=clock.now()).ok
    receiver.answer = lambda got: Reply(400, b'{"error": "invalid client-secret"}')
    services.change_destination(destination, settings={"clientSecret": "another-secret"}, by=COMMAND)
    result = services.test_destination(destination, now=clock.now())
    assert (result.ok, result.status) == (False, 400)
    assert "No token was given" in result.message


def test_an_adapter_that_raises_fails_its_own_subscription_alone(
    audience: Audience, receiver: Receiver, tool: ListTool, clock: FixedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    subscription = subscribed(audience, receiver)
    beside = make_subscription(audience, make_destination(audience.space))
    change(audience, entered=people(audience, "u1"))

    def raises(*arguments: Any) -> list[DestinationRequest]:
        raise LookupError("a bug")

    monkeypatch.setitem(all_adapters(), "lists", replace(LISTS, plan=raises))
    assert synced(subscription, clock).status == Subscription.Status.RETRYING
    assert subscription.error == "The adapter failed: LookupError: a bug"
    assert subscription.retry_at is not None
    assert synced(beside, clock).status == Subscription.Status.IN_STEP
    monkeypatch.setitem(all_adapters(), "lists", LISTS)
    clock.advance(timedelta(minutes=1))
    assert synced(subscription, clock).status == Subscription.Status.IN_STEP
