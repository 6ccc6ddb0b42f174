"""The audience builder as a form: what each button does, what is kept, what is refused and where it is said."""

import json
import re
from dataclasses import dataclass
from datetime import timedelta
from html import unescape

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access.models import AuditEntry
from audiences import drafts
from audiences.conditions import KINDS
from audiences.models import Audience, Draft, Version
from audiences.rules import draft_form
from audiences.rules.conditions import EventCondition
from audiences.rules.fields import TextField, declare
from audiences.rules.grammar import parse, to_json
from audiences.rules.starting_points import STARTING_POINTS
from sources.events.sql import Sql
from sources.models import EventName
from tests.draft_fields import fields_of
from tests.factories_audiences import World
from tests.factories_identity import NOON, message

pytestmark = pytest.mark.django_db

SIGNED_UP = {"kind": "event", "name": "Signed Up", "atLeast": 1, "within": {"days": 7}}
ORDERED = {"kind": "event", "name": "Ordered", "atLeast": 1}
PRO = {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}
BOTH = {"all": [SIGNED_UP, {"not": ORDERED}]}


@pytest.fixture
def world(cast):
    return World(cast.space)


@pytest.fixture
def base(cast):
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences"


@pytest.fixture
def user(cast):
    return cast.browser("user")


@pytest.fixture
def draft(cast):
    return drafts.begin(cast.space, cast.people["owner"])


def fields(definition, **more):
    """The form as the page shows it for this definition."""
    return fields_of(draft_form.of_definition(definition)) | more


def words(answer):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def test_the_list_begins_a_draft_which_is_its_own_page(user, base):
    answer = user.post(f"{base}/new")
    draft = Draft.objects.get()
    assert answer.url == f"{base}/drafts/{draft.public_id}"
    page = words(user.get(answer.url))
    assert "All people who" in page
    assert "Select destinations →" in page
    assert "Go on with a draft" in words(user.get(f"{base}/new"))


@pytest.mark.parametrize("start", STARTING_POINTS, ids=lambda start: start.key)
def test_a_starting_point_fills_the_builder_with_what_it_says(user, base, start):
    assert start.about in unescape(words(user.get(f"{base}/new")))
    answer = user.post(f"{base}/new", {"start": start.key})
    draft = Draft.objects.get()
    assert draft.name == start.name
    definition = drafts.definition_of(draft)
    assert definition in (to_json(parse(start.definition)), {"all": [to_json(parse(start.definition))]})
    assert "is missing" not in words(user.get(f"{answer.url}?preview=1"))


def test_a_definition_can_be_written_as_text(user, base, draft):
    url = f"{base}/drafts/{draft.public_id}"
    definition = {"all": [SIGNED_UP, {**ORDERED, "then": [{"name": "Rated", "exactly": 0}]}]}
    user.post(url, fields(ORDERED, act="json", json=json.dumps(definition)))
    assert drafts.definition_of(Draft.objects.get()) == definition
    shown = re.search(r'name="json"[^>]*>(.*?)</textarea>', user.get(url).content.decode(), re.DOTALL)[1]
    assert json.loads(unescape(shown)) == definition


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("{", "This is no JSON"),
        ("[]", "The definition: must be an object."),
        ('{"all": [{"kind": "event"}]}', "all[0].name: is missing."),
        ("[" * 100_000, "This is no JSON"),
    ],
)
def test_what_is_wrong_in_the_text_is_said_and_the_rows_stay(user, base, draft, text, problem):
    url = f"{base}/drafts/{draft.public_id}"
    answer = user.post(url, fields(ORDERED, act="json", json=text), headers={"HX-Request": "true"})
    page = unescape(answer.content.decode())
    assert problem in page
    assert text[:1000] in page
    assert drafts.definition_of(Draft.objects.get()) == ORDERED


def test_what_was_typed_is_still_there_after_a_reload(user, base, draft):
    url = f"{base}/drafts/{draft.public_id}"
    answer = user.post(url, fields(BOTH, act="add:rows.0:where", include_anonymous="on"))
    assert answer.status_code == 302
    assert "focus=rows.0.where.0" in answer.url
    page = user.get(url).content.decode()
    assert 'value="Signed Up"' in page
    assert 'name="tree.rows.0.where.0.property"' in page
    draft.refresh_from_db()
    assert draft.include_anonymous


@pytest.mark.parametrize(
    ("act", "meant"),
    [
        ("remove:rows.0", {"all": [{"not": ORDERED}]}),
        ("duplicate:rows.0", {"all": [SIGNED_UP, SIGNED_UP, {"not": ORDERED}]}),
        ("down:rows.0", {"all": [{"not": ORDERED}, SIGNED_UP]}),
        ("up:rows.1", {"all": [{"not": ORDERED}, SIGNED_UP]}),
        ("negate:rows.0", {"all": [{"not": SIGNED_UP}, {"not": ORDERED}]}),
        ("negate:rows.1", {"all": [SIGNED_UP, ORDERED]}),
        ("group:rows.0", {"all": [{"any": [SIGNED_UP]}, {"not": ORDERED}]}),
        ("up:rows.7", BOTH),
        ("explode:rows.0", BOTH),
        ("add::nonsense", BOTH),
    ],
)
def test_each_button_changes_the_tree(user, base, draft, act, meant):
    user.post(f"{base}/drafts/{draft.public_id}", fields(BOTH, act=act))
    draft.refresh_from_db()
    assert drafts.definition_of(draft) == meant


def test_a_property_can_be_compared_with_the_event_before_it_and_with_a_trait(user, base, draft):
    related = {"property": "cart_id", "op": "equals", "value": {"parent": "cart_id"}}
    of_person = {"property": "total", "op": "atLeast", "value": {"trait": "budget"}}
    step = {"name": "Ordered", "exactly": 0, "where": [related]}
    definition = {**ORDERED, "where": [of_person], "then": [step]}
    url = f"{base}/drafts/{draft.public_id}"
    page = unescape(user.post(url, fields(definition) | {"act": "preview"}, follow=True).content.decode())
    assert drafts.definition_of(Draft.objects.get()) == definition
    first, then = page.split("and then", 1)
    assert '<option value="atLeast trait" data-takes="trait" selected>is at least their trait</option>' in first
    assert 'value="equals parent"' not in first
    assert 'data-takes="parent" selected>equals the earlier event\'s</option>' in then
    wrong = fields(definition, act="next") | {"tree.rows.0.then.0.where.0.value": "cart[]"}
    answer = unescape(user.post(url, wrong).content.decode())
    assert "Property of the earlier event must lead to one value, without []." in answer


def test_a_group_is_taken_apart_again(user, base, draft):
    grouped = {"all": [{"any": [SIGNED_UP, PRO]}, ORDERED]}
    user.post(f"{base}/drafts/{draft.public_id}", fields(grouped, act="ungroup:rows.0"))
    draft.refresh_from_db()
    assert drafts.definition_of(draft) == {"all": [SIGNED_UP, PRO, ORDERED]}


def test_an_incomplete_form_is_answered_with_what_is_missing_in_which_row(user, base, draft):
    wrong = fields(BOTH, act="next") | {"tree.rows.0.count": "soon", "tree.rows.1.name": ""}
    answer = user.post(f"{base}/drafts/{draft.public_id}", wrong)
    assert answer.status_code == 422
    page = answer.content.decode()
    assert 'value="soon"' in page
    assert "Days must be a whole number from 1 to 1,000,000,000." in page
    assert "Event is missing." in page
    assert page.count('aria-invalid="true"') == 2
    assert not Audience.objects.exists()


def test_the_preview_counts_and_names_the_people(world, user, base, draft):
    world.did("u1", "Signed Up")
    world.did("u2", "Signed Up", ago=timedelta(days=30))
    url = f"{base}/drafts/{draft.public_id}"
    live = user.post(url, fields(ORDERED, act="look"), headers={"HX-Request": "true"})
    assert "Nobody matches at the moment." in words(live)
    ever = {"kind": "event", "name": "Signed Up", "atLeast": 1}
    page = words(user.post(url, fields(ever, act="look"), headers={"HX-Request": "true"}))
    assert "2 people" in page
    assert "People who performed &quot;Signed Up&quot; at least once." in page
    assert "u1" in page
    assert "<form" not in live.content.decode()


def test_without_javascript_the_preview_is_a_button(world, user, base, draft):
    world.did("u1", "Signed Up")
    answer = user.post(f"{base}/drafts/{draft.public_id}", fields({**ORDERED, "name": "Signed Up"}, act="check"))
    assert answer.status_code == 302
    assert "1 person" in words(user.get(answer.url))


ONCE = {"kind": "event", "name": "Signed Up", "atLeast": 1}


@pytest.mark.parametrize(
    ("definition", "with_history", "from_now_on"),
    [
        (ONCE, {"u1"}, set()),
        ({"not": ONCE}, {"u2", "u3"}, {"u1", "u2", "u3"}),
        ({"any": [ONCE, PRO]}, {"u1", "u3"}, {"u3"}),
        (PRO, {"u3"}, {"u3"}),
    ],
)
def test_the_review_says_with_how_many_it_begins_in_both_ways_as_it_then_does(
    world, user, base, draft, definition, with_history, from_now_on
):
    world.did("u1", "Signed Up")
    world.did("u2", "Ordered")
    world.sent(message("identify", userId="u3", traits={"plan": "pro"}))
    url = f"{base}/drafts/{draft.public_id}"
    user.post(url, fields(definition, act="show"))
    begun = user.get(f"{url}/review?count=1").context["begun"]
    assert world.users(begun.with_history.members) == with_history
    assert world.users(begun.from_now_on.members) == from_now_on
    page = words(user.get(f"{url}/review?count=1"))
    assert ("historical data makes no difference" in page) == (definition == PRO)
    user.post(f"{url}/review", {"name": "From now on", "act": "create"})  # without historical data
    world.computed()
    assert world.members(Audience.objects.get()) == from_now_on


def test_the_preview_of_a_draft_that_leaves_history_out_says_so(world, user, base, draft):
    world.did("u1", "Signed Up")
    url, live = f"{base}/drafts/{draft.public_id}", {"headers": {"HX-Request": "true"}}
    assert "historical" not in words(user.post(url, fields(ONCE, act="look"), **live))
    drafts.keep(draft, include_historical=False)
    page = words(user.post(url, fields(ONCE, act="look"), **live))
    assert "1 person That is with historical data, which this draft leaves out." in page
    assert "the audience begins with 0 people" in page


def test_the_builder_of_an_audience_without_history_counts_as_the_audience_does(world, user, base):
    world.did("u1", "Signed Up")
    world.did("u2", "Signed Up", ago=timedelta(days=2))
    audience = world.audience("new", ONCE, events_since=world.clock.now() - timedelta(days=1))
    page = words(user.get(f"{base}/{audience.public_id}/builder"))
    assert "1 person" in page
    assert "counting only events after" in page


def test_the_preview_says_what_stands_in_its_way(world, user, base, draft):
    url = f"{base}/drafts/{draft.public_id}"
    world.audience("fresh", ORDERED)
    live = {"headers": {"HX-Request": "true"}}
    assert "not computed yet" in words(user.post(url, fields({"kind": "audience", "key": "fresh"}, act="look"), **live))
    gone = words(user.post(url, fields({"all": [ORDERED, {"kind": "audience", "key": "gone"}]}, act="look"), **live))
    assert "Row 2 : Must be about an audience of this space" in gone


def test_the_next_step_is_reached_only_with_complete_conditions(user, base, draft):
    url = f"{base}/drafts/{draft.public_id}"
    assert user.post(url, {"act": "next"}).status_code == 422
    assert user.post(url, fields(BOTH, act="next")).url == f"{url}/destinations"
    swapped = user.post(url, fields(BOTH, act="next"), headers={"HX-Request": "true"})
    assert swapped.headers["HX-Redirect"] == f"{url}/destinations"


def test_the_three_pages_of_a_draft_say_on_which_step_one_is_and_lead_to_those_behind(user, base, draft):
    user.post(f"{base}/drafts/{draft.public_id}", fields(BOTH, act="show"))
    places = [f"{base}/drafts/{draft.public_id}{rest}" for rest in ("", "/destinations", "/review")]
    for at, place in enumerate(places):
        page = user.get(place).content.decode()
        stepper = page[page.index('aria-label="Steps"') :].split("</nav>")[0]
        items = stepper.split("<li ")[1:]
        labels = ["1. Build", "2. Select destinations", "3. Review and create"]
        assert all(label in re.sub(r"<[^>]+>", "", each) for label, each in zip(labels, items, strict=True))
        assert ['aria-current="step"' in each for each in items] == [i == at for i in range(3)]
        assert re.findall(r'href="([^"]+)"', stepper) == places[:at]


def test_a_draft_can_be_thrown_away(user, base, draft):
    assert user.post(f"{base}/drafts/{draft.public_id}", {"act": "discard"}).url == base
    assert not Draft.objects.exists()


def test_an_audience_is_changed_only_when_it_is_saved(world, user, base):
    audience = world.audience("new", SIGNED_UP)
    url = f"{base}/{audience.public_id}/builder"
    assert 'value="Signed Up"' in user.get(url).content.decode()
    edited = user.post(url, fields(SIGNED_UP, act="add::trait"))
    assert 'name="tree.rows.1.op"' in edited.content.decode()
    assert Version.objects.count() == 1
    refused = user.post(url, fields({"kind": "audience", "key": "new"}, act="save"))
    assert refused.status_code == 422
    assert "a part of itself" in words(refused)
    user.post(url, fields(BOTH, act="save"))
    assert Version.objects.order_by("-number")[0].definition == BOTH
    assert AuditEntry.objects.filter(action="audience.changed").count() == 1


def test_the_buttons_are_for_those_who_may_use_them(cast, base, draft):
    looks = cast.browser("read_only")
    assert looks.post(f"{base}/new").status_code == 403
    assert looks.post(f"{base}/drafts/{draft.public_id}", {"act": "discard"}).status_code == 403
    assert "New audience" not in looks.get(base).content.decode()
    assert "New audience" in cast.browser("user").get(base).content.decode()
    assert Draft.objects.count() == 1


def test_drafts_are_told_apart_by_what_they_mean(user, base, draft, cast):
    drafts.keep(drafts.begin(cast.space, cast.people["user"]), sketch=draft_form.of_definition(PRO))
    page = words(user.get(f"{base}/new"))
    assert "Untitled draft The conditions are not complete yet." in page
    assert "Untitled draft People who have a profile where the trait &quot;plan&quot; is &quot;pro&quot;." in page


def test_a_draft_of_another_space_is_not_found(cast, user, base):
    theirs = drafts.begin(cast.other_space, cast.people["stranger"])
    url = f"{base}/drafts/{theirs.public_id}"
    assert user.get(url).status_code == 404
    assert user.post(url, {"act": "discard"}).status_code == 404
    assert Draft.objects.count() == 1


def test_names_and_values_that_were_seen_are_suggested(world, user, base):
    world.did("u1", "Ordered", properties={"sku": "boot", "price": 129.5, "of": {"brand": "Acme"}})
    world.did("u2", "Ordered", properties={"sku": "boot"})
    world.did("u2", "Seen", properties={"secret": "x"})
    world.sent(message("identify", userId="u1", traits={"plan": "pro", "seats": 3, "address": {"city": "Oslo"}}))

    def suggested(of, event="", name=""):
        asked = {"of": of, "event": "e", "name": "n", "e": event, "n": name}
        return re.findall(r'value="([^"]*)"', user.get(f"{base}/suggest", asked).content.decode())

    assert suggested("property", "Ordered") == ["sku", "of.brand", "price"]
    assert suggested("property") == []
    assert suggested("property-value", "Ordered", "sku") == ["boot"]
    assert suggested("property-value", "Ordered", "of.brand") == ["Acme"]
    assert suggested("property-value", "Ordered", "price") == ["129.5"]
    assert suggested("property-value", "Ordered", "`) FROM x --") == []
    assert set(suggested("trait")) == {"plan", "seats", "address"}
    assert suggested("trait-value", name="plan") == ["pro"]
    assert suggested("trait-value", name="seats") == ["3"]
    assert suggested("trait-value", name="address.city") == ["Oslo"]
    assert suggested("trait-value", name="address") == []
    assert suggested("nonsense") == []
    typed = {
        "of": "property",
        "event": "tree.rows.0.name",
        "like": "typed",
        "typed": "BRA",
        "tree.rows.0.name": "Ordered",
    }
    shown = user.get(f"{base}/suggest", typed).content.decode().strip()
    assert shown == '<option value="of.brand" label="of.brand · 1 seen"></option>'
    seen = {"workspace": world.source.workspace, "source": world.source, "first_seen_at": NOON, "last_seen_at": NOON}
    EventName.objects.create(type="track", event="Ordered", **seen)
    page = user.get(user.post(f"{base}/new").url).content.decode()
    assert '<option value="Ordered" label="' in page


def test_the_page_asks_the_database_the_same_however_many_rows_there_are(user, base, cast):
    def asked(count):
        draft = drafts.begin(cast.space, cast.people["owner"])
        drafts.keep(draft, sketch=draft_form.of_definition({"all": [PRO] * count}))
        with CaptureQueriesContext(connection) as queries:
            assert user.get(f"{base}/drafts/{draft.public_id}").status_code == 200
        return len(queries)

    asked(1)
    assert asked(2) == asked(60)


def test_a_kind_without_a_template_of_its_own_is_shown_with_an_input_for_each_field(user, base, draft, monkeypatch):
    @dataclass(frozen=True)
    class OnADay(EventCondition):
        kind, label, icon = "day", "Performed an event on a day", "event"
        day: str = declare(TextField("day", "Day", options={"1": "Monday", "2": "Tuesday"}))

        def sentence(self):
            return f"performed {self.name} on day {self.day}"

        def test(self, answers):
            return Sql(f"({answers.columns[0]} > 0)")

    monkeypatch.setitem(KINDS, "day", OnADay)
    tree = draft_form.of_definition({"kind": "day", "name": "Ordered", "day": "2"})
    drafts.keep(draft, sketch={**tree, "name": ""})
    page = user.get(f"{base}/drafts/{draft.public_id}?preview=1").content.decode()
    assert "Event is missing." in page
    assert 'name="tree.rows.0.name"' in page
    assert re.search(r'<option value="2"[^>]* selected>Tuesday', page)


def test_the_key_can_be_chosen_before_it_is_there_for_good(user, base, draft):
    url = f"{base}/drafts/{draft.public_id}"
    user.post(url, fields(PRO, act="show"))
    refused = user.post(f"{url}/review", {"name": "Pros", "key": "No key", "act": "create"})
    assert refused.status_code == 422
    assert "Must be lower-case letters" in refused.content.decode()
    user.post(f"{url}/review", {"name": "Pros", "key": "our_pros", "act": "create"})
    assert Audience.objects.get().key == "our_pros"
