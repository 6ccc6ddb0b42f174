"""While somebody describes an audience: a suggested value finds its people, and a slip of the pen is pointed out."""

import re
from html import unescape
from urllib.parse import parse_qsl, urlsplit

import pytest

from audiences import drafts, suggestions
from audiences.models import Audience, Draft
from audiences.never_seen import never_seen
from audiences.rules import draft_form, grammar
from audiences.rules.value_input import types_of
from audiences.services import preview
from audiences.value_types import typed, undecided, untyped
from sources.models import EventName
from spaces.clock import clock
from tests.draft_fields import fields_of
from tests.factories_audiences import World
from tests.factories_identity import NOON, message

pytestmark = pytest.mark.django_db
SENT = {
    "number": [7, 7.5, 2**53],
    "text": ["7", "007", "true", "plan b"],
    "truth": [True, False],
    "inside": [{"level": 7}],
    "lists": [[7], [8.5]],
    "words": [["a"], ["7"]],
    "both": [7, "7"],
}


@pytest.fixture
def world(cast):
    world = World(cast.space)
    messages = []
    for name, values in SENT.items():
        for number, value in enumerate(values):
            user, sent = f"{name}-{number}", {name: value}
            messages.append(message("identify", userId=user, traits=sent))
            messages.append(message("track", userId=user, event="Used", properties=sent))
    messages.append(message("page", userId="viewer", name="Pricing", properties={"plan": "pro"}))
    world.sent(*messages)  # at once: a batch for each takes a tenth of a second
    names = {"type": "track", "event": "Used", "first_seen_at": NOON, "last_seen_at": NOON}
    EventName.objects.create(workspace=cast.workspace, source=world.source, **names)
    return world


def trait(name, value, op="equals"):
    return {"kind": "trait", "name": name, "op": op, "type": "auto", "value": value}


def used(name, value, op="equals"):
    where = [{"property": name, "op": op, "type": "auto", "value": value}]
    return draft_form.condition("event") | {"name": "Used", "where": where}


ASK = pytest.mark.parametrize("ask", [trait, used], ids=["trait", "property"])


def meant(world, tree):
    definition = draft_form.definition(typed(world.space, tree))
    return len(preview(world.space, definition, include_anonymous=False, now=clock.now()).members)


@ASK
@pytest.mark.parametrize("name", ["number", "text", "truth", "inside.level", "lists[]", "words[]"])
def test_every_suggested_value_finds_its_people(world, ask, name):
    offered = (
        suggestions.trait_values(world.space, name=name)
        if ask is trait
        else suggestions.property_values(world.space, event="Used", name=name)
    )
    assert offered
    for value in offered:
        assert meant(world, ask(name, value)) == 1, value
        assert undecided(world.space, ask(name, value)) == set()
    assert meant(world, ask(name, "\n".join(offered), op="oneOf")) == len(offered)


@ASK
def test_only_where_both_were_sent_is_it_asked_for(world, ask):
    tree = ask("both", "7")
    assert len(undecided(world.space, tree)) == 1
    assert meant(world, tree) == 1  # as it reads: the number
    for question in draft_form.questions(tree):
        question.entries["type"] = "text"
    assert meant(world, tree) == 1
    assert undecided(world.space, ask("both", "plan b")) == set()


def test_what_was_never_sent_is_what_it_reads_as(world):
    tree = draft_form.definition(typed(world.space, trait("nothing", "12")))
    assert tree["value"] == 12
    assert draft_form.definition(typed(world.space, trait("nothing", "twelve")))["value"] == "twelve"


@pytest.mark.parametrize("value", ["pro", "007", 7, True])
def test_a_stored_definition_asks_for_no_type_that_nobody_has_to_give(world, value):
    name = {"pro": "text", "007": "text", 7: "number", True: "truth"}[value]
    stored = {"kind": "trait", "name": name, "op": "equals", "value": value}
    tree = untyped(world.space, draft_form.of_definition(stored))
    assert tree["type"] == "auto"
    assert draft_form.definition(typed(world.space, tree)) == stored


def test_a_stored_definition_that_differs_from_what_was_sent_keeps_its_type(world):
    stored = {"kind": "trait", "name": "number", "op": "equals", "value": "7"}
    tree = untyped(world.space, draft_form.of_definition(stored))
    assert tree["type"] == "text"
    assert draft_form.definition(typed(world.space, tree)) == stored


def test_only_what_may_be_several_is_looked_up():
    assert types_of({"op": "equals", "value": "pro"}) == {"text"}
    assert types_of({"op": "equals", "value": "7"}) == {"text", "number"}
    assert types_of({"op": "equals", "value": "[7]"}) == {"text"}
    assert types_of({"op": "oneOf", "value": "7\ntrue\nx"}) == {"text", "number", "truth"}
    assert types_of({"op": "contains", "value": "7"}) == {"text"}


def test_the_page_asks_for_the_type_only_then(world, cast):
    made = drafts.begin(cast.space, cast.people["owner"])
    url = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/drafts/{made.public_id}"
    user = cast.browser("user")
    for name, asked in (("number", False), ("text", False), ("both", True)):
        tree = {"all": [trait(name, "7")]}
        page = user.post(url, fields_of(tree) | {"act": "show"}, headers={"HX-Request": "true"}).content.decode()
        assert ('aria-label="Kind of value"' in page) == asked, name
        assert drafts.definition_of(Draft.objects.get())["all"][0]["value"] == ("7" if name == "text" else 7)


# What was never seen

EVENT = {"kind": "event", "name": "Used"}


def found(world, definition):
    return [(each.path, each.what, each.name, each.like) for each in never_seen(world.space, grammar.parse(definition))]


@pytest.mark.parametrize(
    ("definition", "expected"),
    [
        (EVENT, []),
        ({"kind": "event", "name": "Usde"}, [("name", "event", "Usde", "Used")]),
        ({"kind": "event", "name": "used"}, [("name", "event", "used", "Used")]),
        ({"not": {"kind": "event", "name": "Bought"}}, [("not.name", "event", "Bought", "")]),
        ({"all": [EVENT, {"not": {"kind": "event", "name": "Usd"}}]}, [("all[1].not.name", "event", "Usd", "Used")]),
        (
            EVENT
            | {
                "where": [{"property": "number", "op": "equals", "value": {"trait": "plam"}}],
                "then": [
                    {
                        "name": "Used",
                        "where": [
                            {"property": "number", "op": "equals", "value": {"parent": "nmber"}},
                            {"property": "number", "op": "notEquals", "value": {"parent": "number"}},
                        ],
                    }
                ],
            },
            [
                ("where[0].value.trait", "trait", "plam", ""),
                ("then[0].where[0].value.parent", "property", "nmber", "number"),
            ],
        ),
        (
            EVENT | {"where": [{"property": "nmber", "op": "exists"}, {"property": "lists[]", "op": "exists"}]},
            [("where[0].property", "property", "nmber", "number")],
        ),
        (EVENT | {"where": [{"property": "inside.level", "op": "exists"}, {"property": "inside", "op": "exists"}]}, []),
        (
            {"kind": "event", "name": "Gone", "where": [{"property": "x", "op": "exists"}]},
            [("name", "event", "Gone", "")],
        ),
        ({"kind": "page", "name": "Pricing", "where": [{"property": "plan", "op": "exists"}]}, []),
        ({"kind": "page", "name": "pricing"}, [("name", "page", "pricing", "Pricing")]),
        ({"kind": "screen", "name": "Pricing"}, [("name", "screen", "Pricing", "")]),
        ({"kind": "trait", "name": "nubmer", "op": "exists"}, [("name", "trait", "nubmer", "number")]),
        ({"kind": "trait", "name": "inside.level", "op": "exists"}, []),
        ({"kind": "trait", "name": "lists[]", "op": "exists"}, []),
    ],
)
def test_what_nobody_ever_sent_is_named_with_its_place(world, definition, expected):
    assert found(world, definition) == expected


def test_it_is_said_in_the_preview_of_the_page_and_of_the_api(world, cast):
    definition = {"all": [EVENT, {"not": {"kind": "event", "name": "Usde"}}]}
    made = drafts.begin(cast.space, cast.people["owner"])
    url = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/drafts/{made.public_id}"
    sent = fields_of(draft_form.of_definition(definition)) | {"act": "look"}
    page = unescape(cast.browser("user").post(url, sent, headers={"HX-Request": "true"}).content.decode())
    words = " ".join(re.sub(r"<[^>]+>", " ", page).split())
    assert "Row 2 : An event “Usde” was never seen in this space. Did you mean “Used”?" in words
    path = f"/api/spaces/{cast.space.public_id}/audiences/previews"
    said = cast.call("user", "POST", path, {"definition": definition}).json()["data"]["preview"]["neverSeen"]
    assert said == [{"path": "all[1].not.name", "what": "event", "name": "Usde", "event": None, "like": "Used"}]
    assert not Audience.objects.exists()


def test_another_space_has_seen_nothing_for_this_one(world, cast):
    elsewhere = World(cast.other_space)
    elsewhere.sent(message("track", userId="x", event="Elsewhere"))
    assert found(world, {"kind": "event", "name": "Elsewhere"}) == [("name", "event", "Elsewhere", "")]


def test_pages_and_their_properties_are_suggested(world, cast):
    made = drafts.begin(cast.space, cast.people["owner"])
    url = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/drafts/{made.public_id}"
    row = draft_form.condition("page") | {"name": "Pri"}
    row["where"] = [{**draft_form.FORMS["page"].blank_rows["where"], "property": "plan"}]
    user = cast.browser("user")
    page = user.post(url, fields_of({"all": [row]}) | {"act": "show"}, headers={"HX-Request": "true"}).content.decode()
    fields = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', page))
    asked = re.findall(r'hx-get="([^"]+of=property[^"]*)"', page)
    addresses = (urlsplit(unescape(address)) for address in asked)
    offered = [user.get(to.path, dict(parse_qsl(to.query)) | fields).content.decode() for to in addresses]
    assert [re.findall(r'value="([^"]*)"', options) for options in offered] == [
        ["Pricing"],  # of its name
        ["page_name", "plan"],  # of what is measured
        ["plan"],  # of a property: those that have in them what is typed
        ["pro"],
    ]
