"""All traits of a person by the Profile API: sent, by SQL, computed, and audiences, each with where it is from."""

import pytest

from audiences.models import Audience, ComputedTrait, SqlTrait
from spaces.ids import new_id
from tests.factories_audiences import World
from tests.factories_identity import message
from tests.sample_rows import make_sql_trait

pytestmark = pytest.mark.django_db

AT_NOON = "2026-06-15T12:00:00.000Z"
ORDERED = {"kind": "event", "name": "Ordered"}
ORDERS = {"kind": "event_counter", "name": "Ordered"}


@pytest.fixture
def world(cast):
    """u1 ordered twice and has a plan; they are a buyer, and in no other audience."""
    world = World(cast.space)
    world.sent(message("identify", userId="u1", traits={"plan": "pro", "email": "ada@example.com"}))
    for _ in range(2):
        world.did("u1", "Ordered")
    trait = ComputedTrait(kind=Audience.Kind.TRAIT, public_id=new_id("tra"), workspace=cast.workspace, space=cast.space)
    trait.name = trait.key = "orders"
    trait.save()
    world.version(trait, ORDERS)
    world.audience("buyers", ORDERED)
    world.audience("others", {"not": ORDERED})
    world.computed()
    return world


def test_a_profile_has_traits_of_all_kinds_with_where_they_are_from(cast, world, api):
    profile = api("GET", "profiles/user_id:u1", who="admin")["profile"]
    assert profile["traits"] == {"buyers": True, "email": "ada@example.com", "orders": 2, "plan": "pro"}
    details = {row["key"]: row for row in profile["traitDetails"]}
    source = world.source.public_id
    assert details["plan"] == {
        "key": "plan",
        "kind": "custom",
        "id": None,
        "value": "pro",
        "sourceId": source,
        "updatedAt": AT_NOON,
    }
    trait, buyers = ComputedTrait.objects.get(), Audience.objects.get(key="buyers")
    assert [details["orders"][name] for name in ("kind", "id", "value", "updatedAt")] == [
        "computed_trait",
        trait.public_id,
        2,
        AT_NOON,
    ]
    assert [details["buyers"][name] for name in ("kind", "id", "value")] == ["audience", buyers.public_id, True]


def test_what_a_query_of_a_warehouse_sent_is_a_sql_trait(cast, world, api):
    sql_trait = make_sql_trait(cast.space)
    SqlTrait.objects.filter(pk=sql_trait.pk).update(source=world.source)
    rows = api("GET", "profiles/user_id:u1?class=sql_trait")["profile"]["traitDetails"]
    assert {(row["key"], row["kind"], row["id"]) for row in rows} >= {("plan", "sql_trait", sql_trait.public_id)}
    assert api("GET", "profiles/user_id:u1?class=custom")["profile"]["traits"] == {}


def test_traits_are_asked_for_by_their_kind(world, api):
    def traits(query):
        return api("GET", f"profiles/user_id:u1/traits?{query}")["traits"]

    assert traits("class=audience") == {"buyers": True}
    assert traits("class=computed_trait,audience") == {"buyers": True, "orders": 2}
    assert set(traits("class=custom")) == {"email", "plan"}
    assert traits("include=orders,plan") == {"orders": 2, "plan": "pro"}
    verbose = traits("class=computed_trait&verbose=true")["orders"]
    assert (verbose["kind"], verbose["value"], verbose["updatedAt"]) == ("computed_trait", 2, AT_NOON)
    assert api("GET", "profiles/user_id:u1/traits?class=weather", status=422)["field"] == "class"


def test_a_custom_trait_hides_none_of_another_kind_but_in_the_short_form(world, api):
    world.sent(message("identify", userId="u1", at=1000, traits={"orders": "many"}))
    profile = api("GET", "profiles/user_id:u1")["profile"]
    assert profile["traits"]["orders"] == "many"
    assert [(row["kind"], row["value"]) for row in profile["traitDetails"] if row["key"] == "orders"] == [
        ("custom", "many"),
        ("computed_trait", 2),
    ]


def test_personal_values_are_masked_in_both_forms(world, api):
    profile = api("GET", "profiles/user_id:u1", who="read_only")["profile"]
    assert "ada@" not in str(profile)
    assert profile["traits"]["plan"] == "pro"
