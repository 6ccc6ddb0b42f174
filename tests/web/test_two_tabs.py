"""Two people, or two tabs, have the same page open: whoever saves second is told, and nothing is taken back unseen."""

import re
from html import unescape

import pytest
from django.urls import reverse

from access import services
from access.pages.forms import CHANGED
from access.services import COMMAND
from audiences import drafts
from audiences.models import Draft, Version
from audiences.pages.views.builder import ELSEWHERE
from audiences.rules import draft_form
from destinations.models import Destination
from destinations.services import change_destination, change_subscription
from identity.rules.policy import DEFAULT_POLICY, Policy
from identity.services import change_policy
from sources.services import update_source
from tests.draft_fields import fields_of
from tests.factories import SourceFactory
from tests.factories_destinations import AudienceFactory, make_destination, make_subscription

pytestmark = pytest.mark.django_db

INPUT = re.compile(r"<input\b[^>]*>")
STAMPS = re.compile(r'<input type="hidden" name="([^"]*opened-with)" value="([^"]*)">')
DEFINITIONS = [{"kind": "event", "name": name, "atLeast": 1, "within": {"days": 7}} for name in ("One", "Two", "Three")]


def settings_of_a_space(cast):
    where = reverse("space-settings", args=[cast.workspace.slug, cast.space.slug])
    return where, {"name": "Mine", "kind": "prod"}, lambda: services.change_space(cast.space, name="Theirs", by=COMMAND)


def settings_of_a_source(cast):
    source = SourceFactory(workspace=cast.workspace)
    where = reverse("source-settings", args=[cast.workspace.slug, source.public_id])
    entries = {"name": "Mine", "kind": source.kind, "enabled": "on"}
    return where, entries, lambda: update_source(source, name="Theirs", by=COMMAND)


def settings_of_an_audience(cast):
    audience = AudienceFactory(space=cast.space)
    where = reverse("audience-settings", args=[cast.workspace.slug, cast.space.slug, audience.public_id])

    def change():
        audience.name = "Theirs"
        audience.save()

    return where, {"name": "Mine", "enabled": "on"}, change


def settings_of_a_destination(cast):
    destination = make_destination(cast.space)
    where = reverse("destination", args=[cast.workspace.slug, cast.space.slug, destination.public_id])
    entries = {"name": "Mine", "settings-style": "event"}
    return where, entries, lambda: change_destination(Destination.objects.get(), name="Theirs", by=COMMAND)


def options_of_a_subscription(cast):
    row = make_subscription(AudienceFactory(space=cast.space), make_destination(cast.space))
    ids = [row.audience.public_id, row.public_id]
    where = reverse("subscription", args=[cast.workspace.slug, cast.space.slug, *ids])
    entries = {"options-enteredEvent": "Mine", "options-exitedEvent": "Left", "options-sendTrack": "on"}
    return where, entries, lambda: change_subscription(row, options={"enteredEvent": "Theirs"}, by=COMMAND)


def rules_of_a_space(cast):
    where = reverse("identity-settings", args=[cast.workspace.slug, cast.space.slug]) + "?edit=1"
    entries = {}
    for definition in DEFAULT_POLICY.identifiers:
        entries |= {f"count-{definition.type}": 3, f"period-{definition.type}": definition.limit.period}
    theirs = DEFAULT_POLICY.to_json()
    theirs["identifiers"][0]["limit"]["count"] = 7
    return where, entries, lambda: change_policy(cast.space, Policy.from_json(theirs), by=COMMAND)


def roles_of_a_person(cast):
    user = cast.people["user"]
    where = reverse("access-person", args=[cast.workspace.slug, user.public_id])
    entries = {"role": "member", f"in-{cast.space.public_id}": "read_only"}
    return where, entries, lambda: services.grant(cast.space, user, "admin", by=COMMAND)


FORMS = [
    settings_of_a_space,
    settings_of_a_source,
    settings_of_an_audience,
    settings_of_a_destination,
    options_of_a_subscription,
    rules_of_a_space,
    roles_of_a_person,
]


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_the_second_save_is_told_and_a_further_one_goes_through(cast, form):
    where, entries, change = form(cast)
    browser = cast.browser("owner")
    opened = dict(STAMPS.findall(browser.get(where).content.decode()))
    assert opened
    change()
    told = browser.post(where, entries | opened)
    page = told.content.decode()
    assert told.status_code == 422
    assert unescape(page).count(CHANGED) == 1
    assert "Mine" in page or "Mine" not in entries.values()
    renewed = dict(STAMPS.findall(page))
    assert renewed != opened
    assert "Theirs" not in str(entries)
    again = browser.post(where, entries | renewed)
    assert again.status_code == 302, again.content.decode()
    assert CHANGED not in unescape(browser.get(where).content.decode())


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.__name__)
def test_whoever_is_alone_is_not_bothered(cast, form):
    where, entries, _ = form(cast)
    browser = cast.browser("owner")
    opened = dict(STAMPS.findall(browser.get(where).content.decode()))
    assert browser.post(where, entries | opened).status_code == 302


# The builder


def hidden(page):
    found = {}
    for tag in INPUT.findall(page):
        name, value = (re.search(rf' {part}="([^"]*)"', tag) for part in ("name", "value"))
        if name and name[1] in ("base", "tab"):
            found[name[1]] = value[1]
    return found


def tree(number):
    return fields_of(draft_form.of_definition(DEFINITIONS[number]))


@pytest.fixture
def draft(cast):
    made = drafts.begin(cast.space, COMMAND)
    return made, reverse("audience-draft", args=[cast.workspace.slug, cast.space.slug, made.public_id])


def kept(draft):
    return drafts.definition_of(Draft.objects.get(pk=draft.pk))["name"]


def test_of_two_tabs_with_a_draft_the_second_is_told_and_may_take_over(cast, draft):
    made, where = draft
    htmx = {"HX-Request": "true"}
    one, two = (cast.browser("user"), cast.browser("admin"))
    first, second = (hidden(browser.get(where).content.decode()) for browser in (one, two))
    for _ in range(2):  # one tab alone is never told
        assert ELSEWHERE not in one.post(where, tree(0) | first | {"act": "show"}, headers=htmx).content.decode()
    assert kept(made) == "One"
    for act in ("look", "show", "check", "next"):
        told = two.post(where, tree(1) | second | {"act": act}, headers=htmx)
        assert ELSEWHERE in told.content.decode(), act
        assert kept(made) == "One"
    page = two.post(where, tree(1) | second | {"act": "show"}, headers=htmx).content.decode()
    assert 'value="Two"' in page
    assert hidden(page) == second  # what the page asks for by itself takes nothing over
    taken = two.post(where, tree(1) | second | {"act": "take"}, headers=htmx).content.decode()
    assert ELSEWHERE not in taken
    assert kept(made) == "Two"
    assert ELSEWHERE in one.post(where, tree(0) | first | {"act": "show"}, headers=htmx).content.decode()
    anew = hidden(one.get(where).content.decode())
    assert ELSEWHERE not in one.post(where, tree(2) | anew | {"act": "show"}, headers=htmx).content.decode()
    assert kept(made) == "Three"


def test_without_scripts_too(cast, draft):
    made, where = draft
    one, two = (cast.browser("user"), cast.browser("user"))
    first, second = (hidden(browser.get(where).content.decode()) for browser in (one, two))
    assert one.post(where, tree(0) | first | {"act": "check"}).status_code == 302
    told = two.post(where, tree(1) | second | {"act": "check"})
    assert ELSEWHERE in told.content.decode()
    assert kept(made) == "One"
    assert two.post(where, tree(1) | second | {"act": "take"}).status_code == 302
    assert kept(made) == "Two"


def test_a_definition_that_somebody_else_saved_meanwhile_is_told(cast):
    audience = AudienceFactory(space=cast.space)
    Version.objects.filter(audience=audience).update(definition=DEFINITIONS[0])
    where = reverse("audience-builder", args=[cast.workspace.slug, cast.space.slug, audience.public_id])
    one, two = cast.browser("user"), cast.browser("admin")
    first, second = (hidden(browser.get(where).content.decode()) for browser in (one, two))
    assert one.post(where, tree(1) | first | {"act": "save"}).status_code == 302
    told = two.post(where, tree(2) | second | {"act": "save"}).content.decode()
    assert "Meanwhile somebody saved another definition" in told
    assert "Two" in told
    assert Version.objects.filter(audience=audience).latest("number").definition["name"] == "Two"
    assert two.post(where, tree(2) | hidden(told) | {"act": "save"}).status_code == 302
    assert Version.objects.filter(audience=audience).latest("number").definition["name"] == "Three"


@pytest.mark.parametrize("name", ["a b", "x" * 41, "-", "é"])
def test_a_name_of_a_page_that_we_did_not_give_is_none(cast, draft, name):
    made, where = draft
    assert cast.browser("user").post(where, tree(0) | {"tab": name, "act": "show"}).status_code == 302
    assert kept(made) == "One"
    told = cast.browser("user").post(where, tree(1) | {"tab": "tab_1", "base": name, "act": "show"})
    assert ELSEWHERE in told.content.decode()
    assert kept(made) == "One"
