"""A Prod space is guided by what exists in Dev; an audience is copied with a click, or it is said why not."""

import re

import pytest
from django.contrib.messages import get_messages
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access import services
from access.models import AuditEntry
from audiences.models import Audience, ComputedTrait, Version
from audiences.services import create_trait
from identity.rules.policy import DEFAULT_POLICY
from sources.models import Connection
from spaces.models import Space
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_destinations import make_destination, make_subscription
from tests.factories_sources import ConnectionFactory

pytestmark = pytest.mark.django_db

BOUGHT = {"kind": "event", "name": "Bought", "atLeast": 2}


def make_audience(space, key, definition=None, **fields):
    name = key.capitalize()
    made = Audience.objects.create(workspace=space.workspace, space=space, name=name, key=key, **fields)
    Version.objects.create(workspace=space.workspace, audience=made, number=1, definition=definition or BOUGHT)
    return made


@pytest.fixture
def prod(cast):
    """A Prod space in which the people of the cast have the roles that they have in the first, which is Dev."""
    made = SpaceFactory(workspace=cast.workspace, name="Shop", slug="prod", kind=Space.Kind.PROD)
    for who in ("admin", "user", "read_only"):
        services.grant(made, cast.people[who], who, by=cast.people["owner"])
    return made


def where(space):
    return f"/w/{space.workspace.slug}/s/{space.slug}/guide"


def parts(cast, space, who="owner"):
    answer = cast.browser(who).get(where(space))
    assert answer.status_code == 200
    return {row["part"].title: [entry["item"].state for entry in row["items"]] for row in answer.context["parts"]}


def copy(cast, prod, key, who="user", **more):
    answer = cast.browser(who).post(where(prod), {"with": cast.space.slug, "copy": key, **more})
    return answer, [str(each) for each in get_messages(answer.wsgi_request)]


def test_it_says_step_by_step_what_is_missing_and_what_is_there(cast, prod):
    source = SourceFactory(workspace=cast.workspace)
    ConnectionFactory(space=cast.space, source=source, state=Connection.State.LIVE)
    subscription = make_subscription(make_audience(cast.space, "buyers"), make_destination(cast.space))
    assert parts(cast, prod) == {
        "Sources": ["missing"],
        "Identity rules": ["here"],
        "Computed traits": [],
        "Audiences": ["missing"],
        "Destinations": ["missing"],
        "Connected audiences": ["missing"],
    }
    ConnectionFactory(space=prod, source=source, state=Connection.State.REPLAYING)
    make_subscription(make_audience(prod, "buyers"), make_destination(prod))
    rules = DEFAULT_POLICY.to_json()
    Space.objects.filter(pk=prod.pk).update(identity_policy=rules)
    assert parts(cast, prod)["Identity rules"] == ["here"], "written out, they are the same"
    Space.objects.filter(pk=prod.pk).update(identity_policy=rules | {"identifiers": rules["identifiers"][:3]})
    assert parts(cast, prod)["Sources"] == ["under way"]
    assert parts(cast, prod)["Identity rules"] == ["different"]
    assert parts(cast, prod)["Connected audiences"] == ["here"]
    Audience.objects.filter(pk=subscription.audience_id).update(include_anonymous=True)
    assert parts(cast, prod)["Audiences"] == ["different"]


def test_an_audience_is_copied_with_its_key_name_and_definition(cast, prod):
    make_audience(cast.space, "buyers", description="Who bought twice", include_anonymous=True)
    answer, said = copy(cast, prod, "buyers")
    assert answer.headers["Location"] == f"{where(prod)}?with={cast.space.slug}"
    assert said == ["Buyers is in Shop now, and is being computed."]
    made = Audience.objects.get(space=prod)
    assert (made.key, made.name, made.description, made.include_anonymous) == (
        "buyers",
        "Buyers",
        "Who bought twice",
        True,
    )
    assert made.versions.get().definition["name"] == "Bought"
    assert AuditEntry.objects.get(action="audience.created").actor == cast.people["user"]
    assert parts(cast, prod)["Audiences"] == ["here"]


def test_a_copy_is_refused_with_its_reason_while_something_it_asks_about_is_missing(cast, prod):
    make_audience(cast.space, "buyers")
    make_audience(cast.space, "loyal", {"kind": "audience", "key": "buyers"})
    _, said = copy(cast, prod, "loyal")
    assert len(said) == 1
    assert "Loyal was not copied." in said[0]
    assert "buyers" in said[0]
    assert not Audience.objects.filter(space=prod).exists()
    copy(cast, prod, "buyers")
    copy(cast, prod, "loyal")
    assert Audience.objects.filter(space=prod).count() == 2


def test_a_computed_trait_is_copied_before_the_audience_that_asks_about_it(cast, prod):
    definition = {"kind": "event_counter", "name": "Bought", "within": {"days": 90}}
    create_trait(cast.space, name="Orders", definition=definition, by=cast.people["owner"])
    make_audience(cast.space, "loyal", {"kind": "computed", "name": "orders", "op": "atLeast", "value": 3})
    assert parts(cast, prod)["Computed traits"] == ["missing"]
    assert "It refers to orders: copy that first." in cast.browser("user").get(where(prod)).content.decode()
    copy(cast, prod, "orders")
    copy(cast, prod, "loyal")
    made = ComputedTrait.objects.get(space=prod)
    assert (made.key, made.versions.get().definition) == ("orders", definition)
    assert (parts(cast, prod)["Computed traits"], parts(cast, prod)["Audiences"]) == (["here"], ["here"])


def test_what_is_here_and_goes_nowhere_leads_to_where_it_is_connected(cast, prod):
    make_subscription(make_audience(cast.space, "buyers"), make_destination(cast.space))
    make_audience(prod, "buyers", {"kind": "event", "name": "Sold"})
    for who, pages in (("user", {"", "/connect"}), ("read_only", {""})):
        page = cast.browser(who).get(where(prod)).content.decode()
        here = Audience.objects.get(space=prod).public_id
        assert set(re.findall(rf'href="[^"]*/audiences/{here}([^"]*)"', page)) == pages


@pytest.mark.parametrize("key", ["", "nobody", "x" * 500])
def test_what_is_not_there_is_not_copied(cast, prod, key):
    _, said = copy(cast, prod, key)
    assert said == [f"{cast.space.name} has nothing with this key."]


def test_a_key_that_was_taken_is_refused_with_its_reason(cast, prod):
    make_audience(cast.space, "buyers")
    make_audience(prod, "buyers", deleted_at="2026-01-01T00:00Z")
    _, said = copy(cast, prod, "buyers")
    assert "Keys are never given again." in said[0]


def test_only_who_may_build_audiences_here_copies_and_only_from_what_they_may_read(cast, prod):
    make_audience(cast.space, "buyers")
    assert copy(cast, prod, "buyers", "read_only")[0].status_code == 403
    assert "Copy to this space" not in cast.browser("read_only").get(where(prod)).content.decode()
    assert "Copy to this space" in cast.browser("user").get(where(prod)).content.decode()
    closed = SpaceFactory(workspace=cast.workspace)
    for slug in (closed.slug, cast.other_space.slug, prod.slug, "nowhere"):
        assert copy(cast, prod, "buyers", **{"with": slug})[0].status_code == 404
        assert cast.browser("user").get(where(prod), {"with": slug}).status_code == 404
    assert cast.browser("stranger").get(where(prod)).status_code == 404


def test_who_sees_no_other_space_is_told_what_the_guide_is_for(cast):
    page = cast.browser("user").get(where(cast.space)).content.decode()
    assert "There is nothing to compare with" in page


def test_the_first_page_of_a_prod_space_leads_to_it_and_so_does_the_last_step(cast, prod):
    page = cast.browser("read_only").get(where(prod).removesuffix("guide")).content.decode()
    assert where(prod) in page
    home = cast.browser("owner").get(f"/w/{cast.workspace.slug}/")
    assert home.context["steps"][7]["url"] == where(prod)
    assert re.search("still lacks a connected source", home.content.decode())


def test_it_costs_the_same_queries_for_many_rows(cast, prod):
    def cost():
        with CaptureQueriesContext(connection) as asked:
            assert cast.browser("owner").get(where(prod)).status_code == 200
        return len(asked)

    def more(number):
        for space in (cast.space, prod):
            ConnectionFactory(space=space, source=SourceFactory(workspace=cast.workspace))
            make_subscription(make_audience(space, f"audience_{number}"), make_destination(space))

    more(0)
    few = cost()
    for number in range(1, 8):
        more(number)
    assert cost() == few
