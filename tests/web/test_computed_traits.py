"""Computed traits as people and scripts use them: described, previewed, created, edited, asked about, deleted."""

from datetime import timedelta

import pytest

from access.models import AuditEntry
from audiences.models import Audience, ComputedTrait, Version
from audiences.rules import draft_form
from destinations.models import Caught, Subscription
from tests.cast import words
from tests.draft_fields import fields_of
from tests.factories_audiences import World
from tests.factories_destinations import make_destination
from tests.flows.test_gaps import synced

pytestmark = pytest.mark.django_db

DAY = timedelta(days=1)
ORDERS = {"kind": "event_counter", "name": "Ordered"}
SPENT = {"kind": "aggregation", "function": "sum", "name": "Ordered", "property": "total"}
LAST_MAIL = {"kind": "last", "name": "Ordered", "property": "email"}


@pytest.fixture
def world(cast, monkeypatch):
    made = World(cast.space)
    for module in ("audiences.api.traits", "audiences.pages.views.traits"):
        monkeypatch.setattr(f"{module}.clock", made.clock)
    for user, total in (("u1", 10), ("u1", 5.5), ("u2", 1)):
        made.did(user, "Ordered", properties={"total": total, "email": f"{user}@x.org", "color": "red"})
    return made


@pytest.fixture
def base(cast):
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/computed-traits"


def made(world, api, name, definition, **fields):
    body = {"name": name, "definition": definition, **fields}
    trait = api("POST", "computed-traits", body, status=201)["computedTrait"]
    world.computed()
    return trait


def form(definition, **more):
    return fields_of(draft_form.of_definition(definition)) | {"include_historical": "on", **more}


# by REST


def test_a_computed_trait_is_made_shown_and_changed(world, api):
    trait = made(world, api, "Orders so far", ORDERS)
    assert (trait["key"], trait["status"]) == ("orders_so_far", "computing")
    assert trait["id"].startswith("tra_")
    shown = api("GET", f"computed-traits/{trait['id']}")["computedTrait"]
    assert (shown["status"], shown["size"], shown["sentence"]) == (
        "live",
        {"count": 2},
        'How often they performed "Ordered".',
    )
    assert [each["id"] for each in api("GET", "computed-traits")["computedTraits"]] == [trait["id"]]
    changed = api(
        "PATCH", f"computed-traits/{trait['id']}", {"definition": {**ORDERS, "within": {"days": 7}}, "name": "Lately"}
    )
    assert (changed["computedTrait"]["version"], changed["computedTrait"]["name"]) == (2, "Lately")
    assert [entry.action for entry in AuditEntry.objects.order_by("pk")][-2:] == ["trait.created", "trait.changed"]


def test_values_are_listed_and_those_of_one_person(world, api):
    trait = made(world, api, "Spent", SPENT)
    values = api("GET", f"computed-traits/{trait['id']}/values")["values"]
    assert sorted(each["value"] for each in values) == [1, 15.5]
    person = next(each["profileId"] for each in values if each["value"] == 15.5)
    (kept,) = api("GET", f"profiles/{person}/computed-traits")["computedTraits"]
    assert (kept["key"], kept["value"], kept["since"]) == ("spent", 15.5, "2026-06-15T12:00:00.000Z")
    assert len(api("GET", f"computed-traits/{trait['id']}/values?pagination[count]=1")["values"]) == 1


def test_a_preview_has_values_and_changes_nothing(world, api):
    preview = api("POST", "computed-traits/previews", {"definition": SPENT})["preview"]
    assert (preview["size"], len(preview["sample"])) == (2, 2)
    assert {bar["label"]: bar["count"] for bar in preview["distribution"]} == {"1": 1, "15.5": 1}
    none = {"definition": SPENT, "includeHistoricalData": False}
    assert api("POST", "computed-traits/previews", none)["preview"]["size"] == 0
    assert not ComputedTrait.objects.exists()


@pytest.mark.parametrize(
    ("wrong", "path"),
    [
        ({"kind": "counter", "name": "x"}, "definition.kind"),
        ({"kind": "event", "name": "x"}, "definition.kind"),
        ({"kind": "event_counter"}, "definition.name"),
        ({**SPENT, "function": "median"}, "definition.function"),
        ({**ORDERS, "property": "x"}, "definition.property"),
        ({**ORDERS, "where": [{"property": "p", "op": "is"}]}, "definition.where[0].op"),
        ({"kind": "most_frequent", "name": "x", "property": "p", "minimum": 0}, "definition.minimum"),
        (None, "definition"),
        ([ORDERS], "definition"),
    ],
)
@pytest.mark.parametrize("route", ["computed-traits", "computed-traits/previews"])
def test_a_wrong_definition_says_where(world, api, wrong, path, route):
    named = {} if route.endswith("previews") else {"name": "x"}
    error = api("POST", route, {**named, "definition": wrong}, status=422)
    assert error["field"] == path


def test_it_is_deleted_unless_an_audience_asks_about_it(world, api):
    trait = made(world, api, "Spent", SPENT)
    asks = {"name": "Big", "definition": {"kind": "computed", "name": "spent", "op": "atLeast", "value": 10}}
    audience = api("POST", "audiences", asks, status=201)["audience"]
    world.computed()
    assert api("GET", f"audiences/{audience['id']}")["audience"]["size"] == {"count": 1}
    assert "big" in api("DELETE", f"computed-traits/{trait['id']}", status=409)["message"]
    api("DELETE", f"audiences/{audience['id']}")
    api("DELETE", f"computed-traits/{trait['id']}")
    api("GET", f"computed-traits/{trait['id']}", status=404)


def test_personal_values_are_masked_for_who_may_not_see_them(world, api):
    trait = made(world, api, "Mail", LAST_MAIL)
    for who, expected in (("read_only", {"•••"}), ("admin", {"u1@x.org", "u2@x.org"})):
        values = api("GET", f"computed-traits/{trait['id']}/values", who=who)["values"]
        assert {each["value"] for each in values} == expected


# by mouse


def test_it_is_described_previewed_and_created(world, cast, base):
    user = cast.browser("user")
    assert "No computed traits yet" in words(user.get(base))
    assert "Event counter" in words(user.get(f"{base}/new"))
    shown = words(user.post(f"{base}/new", form(SPENT, act="look")))
    assert "2 people have a value" in shown
    assert 'The sum of "total" of "Ordered".' in shown
    answer = user.post(f"{base}/new", form(SPENT, act="save", name="Spent"))
    trait = ComputedTrait.objects.get()
    assert answer.url == f"{base}/{trait.public_id}"
    assert "The values are being computed" in words(user.get(answer.url))
    world.computed()
    page = words(user.get(answer.url))
    assert "From 1 to 15.50" in page
    assert "No audience asks about it" in page
    assert "Spent" in words(user.get(base))


def test_another_kind_keeps_the_event_and_asks_for_what_it_needs(world, cast, base):
    user = cast.browser("user")
    sent = form(ORDERS, act="show", name="Typed")
    page = user.post(f"{base}/new", sent | {"tree.rows.0.kind": "most_frequent"}).content.decode()
    assert 'name="tree.rows.0.property"' in page
    assert 'value="Ordered"' in page
    assert 'value="Typed"' in page
    refused = user.post(f"{base}/new", sent | {"tree.rows.0.kind": "most_frequent", "act": "save"})
    assert refused.status_code == 422
    assert "Property is missing." in words(refused)
    assert not Audience.everything.exists()


def test_an_edit_is_saved_and_the_old_values_stay_until_it_is_computed(world, cast, api, base):
    trait = made(world, api, "Orders", ORDERS)
    user = cast.browser("user")
    url = f"{base}/{trait['id']}/edit"
    assert 'value="Ordered"' in user.get(url).content.decode()
    assert user.post(url, form({**ORDERS, "within": {"days": 7}}, act="save")).status_code == 302
    assert Version.objects.count() == 2
    assert "Updating" in words(user.get(f"{base}/{trait['id']}"))


def test_settings_rename_disable_and_delete(world, cast, api, base):
    trait = made(world, api, "Orders", ORDERS)
    user, url = cast.browser("user"), f"{base}/{trait['id']}/settings"
    user.post(url, {"name": "Renamed", "description": "", "enabled": "on"})
    assert "Renamed" in words(user.get(url))
    assert user.post(url, {"confirm": "wrong"}).status_code == 422
    assert user.post(url, {"confirm": "Renamed"}).status_code == 302
    assert user.get(url).status_code == 404


def test_values_are_downloaded_and_stand_on_the_profile(world, cast, api, base):
    trait = made(world, api, "Mail", LAST_MAIL)
    owner = cast.browser("owner")
    lines = b"".join(owner.get(f"{base}/{trait['id']}/values.csv").streaming_content).decode()
    assert sorted(line.rpartition(",")[2] for line in lines.splitlines()[1:]) == ["u1@x.org", "u2@x.org"]
    assert cast.browser("user").get(f"{base}/{trait['id']}/values.csv").status_code in (403, 404)
    person = api("GET", f"computed-traits/{trait['id']}/values")["values"][0]["profileId"]
    profile = f"{base.rpartition('/')[0]}/profiles/{person}/computed-traits"
    assert "u1@x.org" in words(owner.get(profile))
    assert "u1@x.org" not in words(cast.browser("user").get(profile))


def test_a_read_only_member_sees_and_cannot_change(world, cast, api, base):
    trait = made(world, api, "Orders", ORDERS)
    reader = cast.browser("read_only")
    assert "New computed trait" not in words(reader.get(base))
    assert reader.get(f"{base}/{trait['id']}").status_code == 200
    assert reader.get(f"{base}/new").status_code == 403
    assert reader.post(f"{base}/{trait['id']}", {"do": "disable"}).status_code == 403


def test_the_builder_offers_the_computed_traits_of_the_space(world, cast, api, base):
    made(world, api, "Spent", SPENT)
    user = cast.browser("user")
    url = f"{base.rpartition('/')[0]}/audiences/suggest?of=computed"
    assert 'value="spent"' in user.get(url).content.decode()
    values = user.get(f"{url}-value&name=n&n=spent").content.decode()
    assert [each in values for each in ('value="15.5"', 'value="1"')] == [True, True]


def test_it_is_sent_where_people_go_as_events(world, cast, api, base):
    trait = made(world, api, "Orders", ORDERS)
    catcher, listing = (make_destination(cast.space, style=style) for style in ("event", "list"))
    at = f"computed-traits/{trait['id']}/destination-connections"
    made_one = api("POST", at, {"destinationId": catcher.public_id}, status=201)["subscription"]
    assert made_one["options"] == {"sendIdentify": True, "sendTrack": False, "computedEvent": "Trait Computed"}
    synced(Subscription.objects.get(), world.clock)
    assert api("GET", f"{at}/{made_one['id']}")["subscription"]["acknowledged"] == 4  # an e-mail address each, too
    assert api("POST", at, {"destinationId": listing.public_id}, status=409)["message"].startswith("A computed trait")
    api("GET", f"audiences/{trait['id']}/destination-connections", status=404)
    space = base.removesuffix("/computed-traits")
    page = words(cast.browser("user").get(f"{base}/{trait['id']}"))
    assert "1 connected" in page
    assert "4 of 4" in page
    page = words(cast.browser("user").get(f"{space}/destinations/{catcher.public_id}/caught?key={trait['key']}"))
    assert "user_id u1 2 user_id u2 1" in page
    assert "has a new value of Orders" in words(cast.browser("user").get(f"{space}/deliveries"))


def test_a_destination_is_added_on_its_page(world, cast, api, base):
    trait = made(world, api, "Orders", ORDERS)
    catcher, listing = (make_destination(cast.space, style=style) for style in ("event", "list"))
    place = f"{base.removesuffix('computed-traits')}audiences/{trait['id']}"
    page = cast.browser("user").get(f"{place}/connect").content.decode()
    assert catcher.public_id in page
    assert listing.public_id not in page
    data = {"destination": catcher.public_id, f"{catcher.public_id}-sendTrack": "on"}
    wrong = cast.browser("user").post(f"{place}/connect", data | {f"{catcher.public_id}-computedEvent": ""})
    assert "Must not be empty" in words(wrong)
    answer = cast.browser("user").post(f"{place}/connect", data | {f"{catcher.public_id}-computedEvent": "New value"})
    assert answer["Location"] == f"{base}/{trait['id']}"
    row = synced(Subscription.objects.get(), world.clock)
    page = words(cast.browser("user").get(f"{place}/destinations/{row.public_id}?q=u1"))
    assert "Computed traits Orders" in page
    assert "They have a value." in page
    assert set(Caught.objects.values_list("body__event", flat=True)) == {"New value"}
