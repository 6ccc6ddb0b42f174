"""Who has a trait of some value: on the page, as CSV and by the API; and what a search tells nobody."""

import csv
import io
from urllib.parse import parse_qs, urlsplit

import pytest
from clickhouse_connect.driver.exceptions import DatabaseError
from pyroaring import BitMap

from identity.api import views
from identity.pages import presenters
from identity.pages.presenters import newest_of
from sources.events import client
from tests.cast import words
from tests.factories_audiences import World
from tests.factories_identity import message

pytestmark = pytest.mark.django_db


@pytest.fixture
def world(cast):
    return World(cast.space)


@pytest.fixture
def crowd(cast, world):
    """Ada is pro; Bob was, and tries it; Cyd's device was, before Cyd; Dan's traits are odd; Acme is an account."""
    world.sent(
        message("identify", at=-9, userId="ada", traits={"name": "Ada", "plan": "Pro", "seats": 42, "ok": True}),
        message("identify", at=-8, userId="ada", traits={"address": {"city": "Köln"}, "tags": ["x", {"a": 1}, "Y z"]}),
        message("identify", at=-9, userId="bob", traits={"name": "Bob", "plan": "pro", "seats": 42.0}),
        message("identify", at=-8, userId="bob", traits={"plan": "pro trial", "a.b": "deep", "left": "x"}),
        message("identify", at=-7, userId="bob", traits={"a": {"b": "deeper"}, "left": None}),
        message("identify", at=-9, anonymousId="d1", traits={"plan": "pro"}),
        message("identify", at=-8, userId="cyd", traits={"name": "Cyd", "plan": "free", "seats": "42"}),
        message(at=-7, userId="cyd", anonymousId="d1"),
        message("identify", userId="dan", traits={"name": "Dan", "odd": 'say "ÄH"\n', "mail_too": "Dan <dan@x.org>"}),
        message("identify", userId="dan", traits={"tel": "call +49 30 1234567", "email": "dan@x.org"}),
        message("group", userId="dan", groupId="g1", traits={"name": "Acme", "plan": "pro"}),
    )
    return world


def searched(cast, who="admin", **query):
    answer = cast.browser(who).get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/profiles", query)
    assert answer.status_code == 200
    return answer


def names(answer):
    return sorted(person.name for person in answer.context["people"])


def test_people_are_found_by_the_newest_value(cast, crowd):
    cases = [
        ("plan", "PRO", False, ["Ada"]),  # Bob's and Cyd's newest is another
        ("plan", "pro", True, ["Ada", "Bob"]),
        ("plan", "", False, ["Ada", "Bob", "Cyd"]),
        ("plan", "r", True, []),
        ("Plan", "pro", False, []),
        ("seats", "42", False, ["Ada", "Bob", "Cyd"]),  # numbers, and the text
        ("seats", "42.0", False, ["Ada", "Bob"]),
        ("seats", "4.2e1", False, ["Ada", "Bob"]),
        ("seats", "4", True, ["Ada", "Bob", "Cyd"]),
        ("ok", "true", False, ["Ada"]),
        ("address.city", "kÖLN", False, ["Ada"]),
        ("address", "Köln", False, []),
        ("tags", "y", True, ["Ada"]),
        ("tags[].a", "1", False, ["Ada"]),
        ("a.b", "deep", True, ["Bob"]),
        ("a.b", "deeper", False, ["Bob"]),
        ("odd", 'say "äh"', False, []),
        ("odd", 'SAY "äh"', True, ["Dan"]),
        ("left", "", False, []),
        ("plan", "%", True, []),
        ("plan", "\\", False, []),
        ("no%s", "'; --", False, []),
        *((name, "x", True, []) for name in (".", "..", "[]", "a[].", "a.b.c.d.e.f", "tags[][]", "x" * 400)),
    ]
    for trait, value, begins, who in cases:
        answer = searched(cast, trait=trait, value=value, **({"match": "begins"} if begins else {}))
        assert (trait, value, names(answer), answer.context["holders"]) == (trait, value, who, len(who))


def test_a_search_says_what_it_looked_for_and_whom_it_found(cast, crowd):
    page = words(searched(cast, trait="plan", value="pro", match="begins", columns="plan"))
    assert "2 people whose trait plan begins with “pro”." in page
    assert "pro trial" in page
    assert "1 account whose trait plan is “pro”." in words(searched(cast, trait="plan", value="pro", kind="accounts"))
    assert "No profiles found" in words(searched(cast, trait="plan", value="none"))


def test_a_search_by_name_and_one_by_trait_go_together(cast, crowd):
    assert names(searched(cast, q="b", trait="plan")) == ["Bob"]
    assert names(searched(cast, list="ada\ndan", trait="plan")) == ["Ada"]
    page = searched(cast, q="b", trait="plan", value="p", match="begins").content.decode()
    assert page.count('name="trait" value="plan"') == 3  # each of the forms keeps what the others say


def test_computed_traits_are_searched_too(cast, crowd):
    for user in ("ada", "ada", "bob"):
        crowd.did(user, "Paid", properties={"email": f"{user}@x.org", "first_name": user})
    definitions = {"orders": {"kind": "event_counter", "name": "Paid"}}
    definitions |= {name: {"kind": "last", "name": "Paid", "property": name} for name in ("email", "first_name")}
    for key, definition in definitions.items():
        crowd.audience(f"last_{key}", definition, kind="trait")
    crowd.computed()
    assert names(searched(cast, trait="last_orders", value="2")) == ["Ada"]
    assert names(searched(cast, trait="last_orders", value="2", kind="accounts")) == []
    assert names(searched(cast, trait="last_email", value="BOB@", match="begins")) == ["Bob"]
    crowd.did("bob", "Paid", properties={})
    crowd.ticked()
    assert names(searched(cast, trait="last_orders", value="2")) == ["Ada", "Bob"]
    assert len(searched(cast, "user", trait="last_orders", value="2").context["people"]) == 2
    for trait in ("last_email", "last_first_name"):
        assert names(searched(cast, "user", trait=trait, value="a", match="begins")) == []


@pytest.mark.parametrize("who", ["user", "read_only"])
def test_whoever_may_not_see_a_value_does_not_find_it_out(cast, crowd, api_as, who):
    values = {"name": "Dan", "email": "dan@x.org", "address.city": "Köln", "mail_too": "Dan <dan@x.org>"}
    for trait, value in (values | {"tel": "call +49 30 1234567"}).items():
        assert names(searched(cast, trait=trait, value=value))
        for length in (1, 2, len(value) - 1, len(value)):
            query = {"trait": trait, "value": value[:length], "match": "begins"}
            assert not searched(cast, who, **query).context["people"]
            status, answer = api_as(who, **query)
            assert status == 403 or answer["data"]["profiles"] == [], query
    assert "is masked for you" in words(searched(cast, who, trait="name", value="Dan"))
    assert len(searched(cast, who, trait="plan", value="pro").context["people"]) == 1


@pytest.fixture
def api_as(cast):
    def ask(who, **query):
        url = f"/api/spaces/{cast.space.public_id}/profiles"
        answer = cast.browser("nobody").get(url, query, headers=cast.bearer(who))
        return answer.status_code, answer.json()

    return ask


def test_pages_and_downloads_reach_everybody_whom_a_search_finds(cast, world, api_as, monkeypatch):
    world.sent(*(message("identify", userId=f"u{n}", traits={"name": f"N{n}", "plan": "pro"}) for n in range(60)))
    monkeypatch.setattr(presenters, "CSV_ROWS", 7)
    monkeypatch.setattr(presenters, "LOOKED_UP", 51)
    query = {"trait": "plan", "value": "pro"}
    everybody = sorted(f"N{n}" for n in range(60))
    first = searched(cast, **query)
    after = parse_qs(urlsplit(first.context["table"].pager.next).query)
    assert (after["trait"], after["value"]) == (["plan"], ["pro"])
    second = searched(cast, **query, after=after["after"][0])
    assert sorted(names(first) + names(second)) == everybody
    assert second.context["table"].pager.next == ""
    lines = b"".join(searched(cast, **query, format="csv").streaming_content).decode()
    assert sorted(row["Name"] for row in csv.DictReader(io.StringIO(lines))) == everybody
    monkeypatch.setattr(views, "SPARE", 0)
    found, cursor = [], {}
    while True:
        status, answer = api_as("admin", **query, include="traits", **{"pagination[count]": 25}, **cursor)
        assert status == 200
        found += [row["traits"]["name"] for row in answer["data"]["profiles"]]
        assert answer["data"]["pagination"]["totalEntries"] == 60
        if "next" not in answer["data"]["pagination"]:
            break
        cursor = {"pagination[cursor]": answer["data"]["pagination"]["next"]}
    assert sorted(found) == everybody


def test_by_the_api_a_match_is_one_of_two_and_an_identifier_narrows(cast, crowd, api_as, monkeypatch):
    def found(**query):
        status, answer = api_as("admin", include="traits", **query)
        return [row["traits"]["name"] for row in answer["data"]["profiles"]] if status == 200 else status

    assert found(trait="plan", value="pro", match="begins") == ["Ada", "Bob"]
    assert found(trait="plan", value="pro", match="begins", identifier="user_id:bob") == ["Bob"]
    assert found(trait="plan", value="pro", collection="accounts") == ["Acme"]
    assert found(trait="plan", match="roughly") == 422
    assert found(trait="plan", **{"pagination[cursor]": "Ii05OTk5OTk5OTk5OTk5Ig=="}) == ["Ada", "Bob", "Cyd"]  # "-999…"

    def away(*args, **kwargs):
        raise DatabaseError("too slow")

    monkeypatch.setattr(client, "bitmaps", away)
    assert found(trait="plan") == 503
    assert "This search took too long" in words(searched(cast, trait="plan"))


def test_the_newest_of_many_numbers():
    numbers = BitMap([1, 5, 7, 9])
    assert [list(newest_of(numbers, below, 2)) for below in (None, 9, 8, 5, 1, 10**18)] == [
        [7, 9],
        [5, 7],
        [5, 7],
        [1],
        [],
        [7, 9],
    ]
