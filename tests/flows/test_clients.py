"""Clients of a whole stack.

One that is generated from docs/openapi.json does the eight steps of the quickstart, but for sending: libraries do that.
"""

import importlib
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from benchmarks.stack import Stack, stack, until
from tests.clients.arrival import GOOD, run_on_a_server
from tests.clients.libraries import PYTHON, Library, Run
from tests.contract import OPENAPI

PACKAGE = "personas_client"
WITHIN_S = 60.0
BOUGHT = {"u1": 3, "u2": 2, "u3": 1}


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """The name of the generated package, which can be imported."""
    home = tmp_path_factory.mktemp("generated")
    command = [
        Path(sys.executable).with_name("openapi-python-client"),
        "generate",
        "--path",
        OPENAPI,
        "--fail-on-warning",
    ]
    config = home / "config.yml"
    config.write_text("post_hooks: []\n")
    output = ["--output-path", home / PACKAGE, "--meta", "none", "--config", config]
    done = subprocess.run([*command, *output], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(home))
        yield importlib.import_module(PACKAGE)
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]


class Caller:
    """`caller("sources", "create_source", body=…)` is what the generated function of that tag and name returns."""

    def __init__(self, package: Any, address: str, token: str) -> None:
        self.models = importlib.import_module(f"{PACKAGE}.models")
        self.address = address
        self.client = package.AuthenticatedClient(address, token, httpx_args={"trust_env": False})

    def __call__(self, tag: str, operation: str, *place: str, **more: Any) -> Any:
        module = importlib.import_module(f"{PACKAGE}.api.{tag}.{operation}")
        answer = module.sync(*place, client=self.client, **more)
        assert answer is not None
        assert not isinstance(answer, self.models.Errors), answer
        return answer.data


@pytest.fixture(scope="module")
def running() -> Iterator[Stack]:
    """A whole stack."""
    with stack() as started:
        yield started


@pytest.fixture(scope="module")
def call(package: Any, running: Stack) -> Caller:
    return Caller(package, running.address, running.token)


def test_the_eight_steps_can_be_done_with_it(call: Caller) -> None:
    space = a_space_with_a_teammate(call)
    sources = sources_that_sent(call)
    their_past_is_replayed(call, space, sources)
    their_people_are_there(call, space)
    audience = an_audience(call, space)
    destination = it_goes_to_a_destination(call, space, audience)
    its_members_are_who_was_delivered(call, space, audience, destination)
    the_same_for_real(call, audience)


def a_space_with_a_teammate(call: Caller) -> Any:
    """Steps 1 and 2."""
    models = call.models
    space = call("spaces", "create_space", body=models.CreateSpace(name="Dev")).space
    grant = models.Grant(space_id=space.id, role=models.GrantRole.USER)
    invite = models.CreateInvite(email="teammate@example.com", grants=[grant])
    call("invites", "create_invites", body=models.CreateInvites(invites=[invite]))
    (pending,) = call("invites", "list_invites").invites
    assert (pending.email, pending.grants, pending.expired) == (invite.email, [grant], False)
    return space


def sources_that_sent(call: Caller) -> list[Any]:
    """Step 3: two sources, and what one of them sent is archived."""
    create, kinds = call.models.CreateSource, call.models.CreateSourceKind
    bodies = [create(name="Website", kind=kinds.WEBSITE), create(name="Server", kind=kinds.SERVER)]
    sources = [call("sources", "create_source", body=body).source for body in bodies]
    send(call.address, sources[0].write_keys[0])
    tally = until(lambda: archived(call, sources[0].id), within_s=WITHIN_S).tally
    assert (tally.archived, tally.rejected) == (sum(BOUGHT.values()) + len(BOUGHT), 0)
    assert "Bought" in {each.event for each in call("sources", "list_event_names", sources[0].id).events}
    return sources


def their_past_is_replayed(call: Caller, space: Any, sources: list[Any]) -> None:
    body = call.models.ConnectSources(source_ids=[source.id for source in sources], replay=True, replay_days=30)
    connected = call("connections", "connect_sources", space.id, body=body)
    assert [each.source_id for each in connected.connections] == body.source_ids

    def done() -> bool:
        state = call("replays", "get_replay", space.id, connected.replay.id).replay.state
        resolution = call("profiles", "get_resolution", space.id)
        return state == call.models.ReplayState.COMPLETE and not (resolution.waiting or resolution.replaying)

    until(done, within_s=WITHIN_S)


def their_people_are_there(call: Caller, space: Any) -> None:
    """Step 4."""
    profiles = call("profiles", "list_profiles", space.id, include="identifiers,traits").profiles
    assert {each.traits["name"] for each in profiles} == {f"Name of {who}" for who in BOUGHT}
    one = call("profiles", "get_profile", space.id, "user_id:u1").profile
    assert {each.value for each in one.identifiers} == {"u1", "u1@example.com"}
    events = call("profiles", "list_profile_events", space.id, one.id, include="Bought").events
    assert [each.message["event"] for each in events] == ["Bought"] * BOUGHT["u1"]


def an_audience(call: Caller, space: Any) -> Any:
    """Step 5: previewed, created and computed."""
    models = call.models
    week = models.EventConditionWithin(days=7)
    twice = models.EventCondition(kind=models.EventConditionKind.EVENT, name="Bought", at_least=2, within=week)
    trait, exists = models.TraitConditionKind.TRAIT, models.TraitConditionOp.EXISTS
    known = models.TraitCondition(kind=trait, name="name", op=exists)
    definition = models.AllGroup([twice, models.NotGroup(models.NotGroup(known))])
    preview = call("audiences", "preview_audience", space.id, body=models.PreviewAudience(definition)).preview
    assert (preview.size, {each.name for each in preview.sample}) == (2, {"Name of u1", "Name of u2"})
    body = models.CreateAudience("Buyers", definition)
    audience = call("audiences", "create_audience", space.id, body=body).audience
    assert audience.definition == definition

    def live() -> bool:
        status = call("audiences", "get_audience", space.id, audience.id).audience.status
        return bool(status == models.AudienceStatus.LIVE)

    until(live, within_s=WITHIN_S)
    return audience


def it_goes_to_a_destination(call: Caller, space: Any, audience: Any) -> Any:
    """Step 6: the destination has acknowledged everybody."""
    models = call.models
    body = models.CreateCatcherDestination(
        kind=models.CreateCatcherDestinationKind.CATCHER,
        name="Catcher",
        settings=models.CatcherSettings(style=models.CatcherSettingsSendPeopleAs.EVENT),
    )
    destination = call("destinations", "create_destination", space.id, body=body).destination
    place, body = (space.id, audience.id), models.CreateSubscription(destination.id)
    subscription = call("subscriptions", "create_subscription", *place, body=body).subscription

    def in_step() -> Any:
        shown = call("subscriptions", "get_subscription", *place, subscription.id).subscription
        return shown if shown.status == models.SubscriptionStatus.IN_STEP and shown.acknowledged else None

    shown = until(in_step, within_s=WITHIN_S)
    assert shown.acknowledged == shown.desired
    return destination


def its_members_are_who_was_delivered(call: Caller, space: Any, audience: Any, destination: Any) -> None:
    """Step 7."""
    include = call.models.ListMembersInclude.IDENTIFIERS
    members = call("audiences", "list_members", space.id, audience.id, include=include).members
    known = {(each.type_, each.value) for member in members for each in member.identifiers}
    assert known == {(type, value) for who in ("u1", "u2") for type, value in identifiers(who)}
    there = call("destinations", "list_held", space.id, destination.id, key=audience.key).list_
    assert {(each.type_, each.value) for each in there} <= known
    assert there
    deliveries = call("destinations", "list_deliveries", space.id, destination.id).deliveries
    assert {each.outcome for each in deliveries} == {call.models.DeliveryOutcome.DELIVERED}
    (change,) = call("audiences", "list_changes", space.id, audience.id).changes
    assert (change.entered.count, change.left.count) == (2, 0)


def the_same_for_real(call: Caller, audience: Any) -> None:
    """Step 8."""
    models = call.models
    prod = models.CreateSpace(name="Prod", kind=models.CreateSpaceKind.PROD)
    space = call("spaces", "create_space", body=prod).space
    body = models.CreateAudience("Buyers", audience.definition)
    made = call("audiences", "create_audience", space.id, body=body).audience
    assert (made.key, made.sentence) == (audience.key, audience.sentence)
    assert {each.name for each in call("spaces", "list_spaces").spaces} == {"Dev", "Prod"}


def test_what_is_wrong_is_an_answer_with_its_place(call: Caller) -> None:
    create = importlib.import_module(f"{PACKAGE}.api.spaces.create_space").sync
    (error,) = create(client=call.client, body=call.models.CreateSpace(name="")).errors
    assert (error.type_, error.field) == ("validation-error", "name")


def identifiers(who: str) -> list[tuple[str, str]]:
    return [("user_id", who), ("email", f"{who}@example.com")]


def send(address: str, write_key: str) -> None:
    batch: list[dict[str, Any]] = []
    for who, times in BOUGHT.items():
        traits = {"email": f"{who}@example.com", "name": f"Name of {who}"}
        batch.append({"type": "identify", "userId": who, "traits": traits})
        batch += [{"type": "track", "userId": who, "event": "Bought"} for _ in range(times)]
    body = {"writeKey": write_key, "batch": batch}
    httpx.post(f"{address}/v1/batch", json=body, trust_env=False).raise_for_status()


def archived(call: Caller, source_id: str) -> Any:
    """The source once all of it is archived."""
    source = call("sources", "get_source", source_id).source
    return source if source.tally.waiting == 0 and source.tally.archived else None


@pytest.mark.parametrize(("library", "run"), PYTHON.items(), ids=lambda each: getattr(each, "name", ""))
def test_what_libraries_for_python_send_arrives_once(running: Stack, library: Library, run: Run) -> None:
    """The others are run by `make test-clients`."""
    found = run_on_a_server(running, library, run)
    assert set(found.values()) <= GOOD, found
