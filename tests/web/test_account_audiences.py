"""Audiences and computed traits of accounts, and people by their accounts: by REST, and on the pages."""

import re
from html import unescape

import pytest

from audiences.models import Audience
from audiences.rules import draft_form
from identity.models import Identifier, Profile
from tests.draft_fields import fields_of
from tests.factories_audiences import World
from tests.factories_identity import message

pytestmark = pytest.mark.django_db

ORDERED = {"kind": "event", "name": "Ordered"}
PRO = {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}
ANY_ORDERED = {"users": "any", "all": [ORDERED]}


@pytest.fixture
def world(cast, monkeypatch):
    """Ann and Bob of Acme, which is on the pro plan, and Cat of Beta. Bob and Cat ordered."""
    world = World(cast.space)
    for place in (
        "audiences.api.views.clock",
        "audiences.api.traits.clock",
        "audiences.pages.builder.clock",
        "audiences.pages.views.person.clock",
    ):
        monkeypatch.setattr(place, world.clock)
    calls = [("ann", "acme", {"name": "Acme", "plan": "pro"}), ("bob", "acme", {}), ("cat", "beta", {"name": "Beta"})]
    world.sent(
        *[message("group", userId=user, groupId=account, traits=traits) for user, account, traits in calls],
        *[message(userId=user, event="Ordered", properties={"total": 40}) for user in ("bob", "cat", "cat")],
    )
    return world


def profile_of(world, value):
    number = Identifier.objects.get(space=world.space, value=value).profile
    return Profile.objects.get(space=world.space, number=number).public_id


def made(api, definition, **fields):
    body = {"name": "Busy accounts", "of": "accounts", "definition": definition, **fields}
    return api("POST", "audiences", body, status=201)["audience"]


# the API


def test_the_members_of_an_audience_of_accounts_are_accounts(world, api):
    audience = made(api, {"all": [PRO, ANY_ORDERED]}, includeAnonymous=True)
    assert (audience["of"], audience["includeAnonymous"]) == ("accounts", False)
    assert audience["sentence"] == (
        'Accounts that have a profile where the trait "plan" is "pro" and have any users who (performed "Ordered" at'
        " least once)."
    )
    world.computed()
    listed = api("GET", f"audiences/{audience['id']}/members?include=identifiers")["members"]
    assert listed == [{"profileId": profile_of(world, "acme"), "identifiers": [{"type": "group_id", "value": "acme"}]}]
    assert api("GET", f"audiences/{audience['id']}")["audience"]["size"] == {"count": 1}
    copied = api("POST", f"audiences/{audience['id']}/duplicate", {}, status=201)["audience"]
    assert copied["of"] == "accounts"


def test_a_preview_of_accounts_shows_accounts(world, api):
    body = {"of": "accounts", "definition": {"any": [{**ORDERED, "atLeast": 2}, PRO]}, "sampleSize": 5}
    preview = api("POST", "audiences/previews", body, who="admin")["preview"]
    assert preview["size"] == 2
    assert {person["name"] for person in preview["sample"]} == {"Acme", "Beta"}
    assert preview["sentence"].startswith("Accounts that ")


def test_without_a_word_an_audience_is_about_people(world, api):
    body = {"name": "Of busy accounts", "definition": {"accounts": "any", "all": [{**ORDERED, "exactly": 1}]}}
    audience = api("POST", "audiences", body, status=201)["audience"]
    assert audience["of"] == "users"
    world.computed()
    listed = api("GET", f"audiences/{audience['id']}/members")["members"]
    assert {member["profileId"] for member in listed} == {profile_of(world, "ann"), profile_of(world, "bob")}


@pytest.mark.parametrize(
    ("of", "definition", "field", "words"),
    [
        ("users", ANY_ORDERED, "definition.users", "what is about users can ask about accounts"),
        ("accounts", {"all": [{"accounts": "any", "all": [PRO]}]}, "definition.all[0].accounts", "ask about users"),
        ("accounts", {"kind": "audience", "key": "people"}, "definition", 'of accounts: "people" is one of users'),
        (
            "accounts",
            {"users": "any", "all": [{"kind": "audience", "key": "firms"}]},
            "definition.all[0]",
            'of users: "firms" is one of accounts',
        ),
        (
            "accounts",
            {"kind": "computed", "name": "orders", "op": "exists"},
            "definition",
            "a computed trait of accounts",
        ),
        ("firms", PRO, "of", '"firms" is not a valid choice'),
    ],
)
def test_what_cannot_be_asked_of_these_is_refused_with_its_path(world, api, of, definition, field, words):
    world.audience("people", ORDERED)
    world.audience("firms", PRO, of="accounts")
    world.audience("orders", {"kind": "event_counter", "name": "Ordered"}, kind="trait")
    for path, more in (("audiences", {"name": "A"}), ("audiences/previews", {})):
        error = api("POST", path, {"of": of, "definition": definition, **more}, status=422)
        assert error["field"] == field
        assert words in error["message"]


def test_an_audience_that_others_ask_about_through_their_users_is_part_of_them(world, api):
    people = api("POST", "audiences", {"name": "People", "definition": ORDERED}, status=201)["audience"]
    made(api, {"users": "any", "all": [{"kind": "audience", "key": "people"}]}, key="firms")
    assert "firms" in api("DELETE", f"audiences/{people['id']}", status=409)["message"]
    circle = {"accounts": "any", "all": [{"kind": "audience", "key": "firms"}]}
    error = api("PATCH", f"audiences/{people['id']}", {"definition": circle}, status=422)
    assert "people → firms → people" in error["message"]


def test_a_computed_trait_of_accounts_is_of_all_their_users_events(world, api):
    definition = {"kind": "aggregation", "name": "Ordered", "property": "total", "function": "sum"}
    body = {"of": "accounts", "definition": definition}
    preview = api("POST", "computed-traits/previews", body)["preview"]
    values = {profile_of(world, "acme"): 40, profile_of(world, "beta"): 80}
    assert {row["profileId"]: row["value"] for row in preview["sample"]} == values
    trait = api("POST", "computed-traits", {"name": "Spent", **body}, status=201)["computedTrait"]
    assert (trait["of"], trait["sentence"]) == (
        "accounts",
        'For each account, the sum of "total" of "Ordered".',
    )
    world.computed()
    listed = api("GET", f"computed-traits/{trait['id']}/values")["values"]
    assert {row["profileId"]: row["value"] for row in listed} == values
    (value,) = api("GET", f"profiles/{profile_of(world, 'acme')}/computed-traits")["computedTraits"]
    assert value["value"] == 40


# the pages


def words(answer):
    assert answer.status_code == 200
    return unescape(re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode())))


def test_an_audience_of_accounts_is_described_in_the_builder(world, cast, base):
    browser = cast.browser("admin")
    url = browser.post(f"{base}/audiences/new", {"of": "accounts"}).url
    page = words(browser.get(url))
    assert "Accounts for which" in page
    assert "All accounts that" in page
    assert "Include anonymous people" not in page
    definition = {"all": [PRO, {"users": "none", "all": [{**ORDERED, "atLeast": 2}]}]}
    written = fields_of(draft_form.of_definition(definition))
    shown = browser.post(url, written | {"act": "look"}, headers={"HX-Request": "true"})
    assert re.search(r"1 account .*Accounts that have a profile .* have no users who \(performed", words(shown))
    shown = browser.post(url, written | {"act": "add:rows.1:event"}, headers={"HX-Request": "true"})
    assert 'name="tree.rows.1.users"' in shown.content.decode()
    assert "none of its users" in words(shown)
    assert "Their accounts" in words(shown)  # of its users
    browser.post(url, written | {"act": "next"})
    review = browser.get(f"{url}/review?count=1")
    assert "Accounts at first 1" in words(review)
    browser.post(f"{url}/review", {"name": "Quiet", "include_historical": "on", "act": "create"})
    audience = Audience.objects.get()
    assert (audience.of, audience.versions.get().definition) == ("accounts", definition)
    world.computed()
    page = words(browser.get(f"{base}/audiences/{audience.public_id}"))
    assert re.search(r"Accounts 1 ", page)
    assert "Acme" in page


def test_only_what_can_be_asked_is_offered(world, cast, base):
    world.audience("firms", PRO, of="accounts")
    people = world.audience("people", {"accounts": "any", "all": [{"users": "any", "all": [ORDERED]}]})
    inside = {"all": [{"kind": "audience", "key": ""}, {"accounts": "any", "all": [{"kind": "audience", "key": ""}]}]}
    tree = fields_of(draft_form.of_stored(inside))
    page = cast.browser("user").post(f"{base}/audiences/{people.public_id}/builder", tree).content.decode()
    own, theirs = re.findall(r'<select[^>]*name="tree\.rows\.[\d.rows]*key".*?</select>', page, re.DOTALL)
    assert ("firms" in own, "firms" in theirs) == (False, True)
    page = cast.browser("user").get(f"{base}/audiences/{people.public_id}/builder").content.decode()
    adding = re.findall(r'value="add:([^:]*):(users|accounts)"', page)
    assert adding == [("rows.0", "users"), ("", "accounts")]  # and none in the users of the accounts


def test_the_page_of_an_account_says_in_which_audiences_it_is_and_why(world, cast, base):
    busy = world.audience(
        "busy", {"all": [{**ORDERED, "atLeast": 1, "within": {"days": 7}}, ANY_ORDERED]}, of="accounts"
    )
    world.audience("buyers", ORDERED)
    world.computed()
    place = f"{base}/profiles/{profile_of(world, 'acme')}/audiences"
    browser = cast.browser("admin")
    listed = words(browser.get(place, headers={"HX-Request": "true"}))
    assert "busy" in listed
    assert "buyers" not in listed
    page = words(browser.get(f"{place}/{busy.public_id}"))
    assert "In the audience" in page
    assert "1 such event" in page
    assert "They have any users who (performed" in page
    assert "Time alone may change this on" in page
    assert browser.get(f"{base}/profiles/{profile_of(world, 'ann')}/audiences/{busy.public_id}").status_code == 404


def test_a_computed_trait_of_accounts_is_described_and_shown(world, cast, base):
    browser = cast.browser("admin")
    form = fields_of(draft_form.of_definition({"kind": "event_counter", "name": "Ordered"}))
    form |= {"name": "Orders", "of": "accounts", "include_historical": "on"}
    look = browser.post(f"{base}/computed-traits/new", form | {"act": "look"}, headers={"HX-Request": "true"})
    assert "2 accounts have a value" in words(look)
    answer = browser.post(f"{base}/computed-traits/new", form | {"act": "save"})
    assert answer.status_code == 302
    world.computed()
    page = words(browser.get(answer.url))
    assert "Accounts with a value 2" in page
    assert "For each account, how often they performed" in page
    shown = browser.get(f"{base}/profiles/{profile_of(world, 'beta')}/computed-traits", headers={"HX-Request": "true"})
    assert re.search(r"Orders 2 ", words(shown))


def test_why_and_overlap_are_asked_of_those_whom_an_audience_can_be_about(world, api):
    firms = world.audience("firms", PRO, of="accounts")
    busy = world.audience("busy", ORDERED, of="accounts")
    people = world.audience("people", ORDERED)
    world.computed()
    overlap = api("GET", f"audiences/{firms.public_id}/overlap?with={busy.public_id}")["overlap"]
    assert overlap["both"] == 1
    assert (
        "of accounts"
        in api("GET", f"audiences/{firms.public_id}/overlap?with={people.public_id}", status=422)["message"]
    )
    of_acme = f"profiles/{profile_of(world, 'acme')}/audiences"
    assert api("GET", f"{of_acme}/{busy.public_id}")["explanation"]["member"]
    api("GET", f"{of_acme}/{people.public_id}", status=404)
