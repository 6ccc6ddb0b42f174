"""A copy of an audience or a computed trait: with the same definition and options, a key of its own, sent nowhere."""

import re
from html import unescape

import pytest

from audiences import services
from audiences.models import Audience, ComputedTrait, Draft, Version
from audiences.rules import draft_form
from spaces.clock import clock
from tests.draft_fields import fields_of
from tests.factories_destinations import make_destination, make_subscription

pytestmark = pytest.mark.django_db

ORDERED = {"kind": "event", "name": "Ordered", "atLeast": 1, "within": {"days": 30}}
ORDERS = {"kind": "event_counter", "name": "Ordered", "within": {"days": 30}}
UNREADABLE = {"kind": "of another release"}


@pytest.fixture
def api(cast):
    def call(method, path, body=None, *, status=201, who="user"):
        answer = cast.call(who, method, f"/api/spaces/{cast.space.public_id}/{path}", body)
        assert answer.status_code == status, answer.content
        return answer.json()["data"] if status < 300 else answer.json()["errors"][0]

    return call


@pytest.fixture
def audience(cast):
    options = {"description": "Who bought", "labels": ["vip"], "include_anonymous": True}
    return services.create_audience(
        cast.space, name="Buyers", definition=ORDERED, by=cast.people["user"], events_since=clock.now(), **options
    )


@pytest.fixture
def trait(cast):
    return services.create_trait(
        cast.space, name="Orders", definition=ORDERS, description="In 30 days", by=cast.people["user"]
    )


def kept(audience):
    """What a copy has of its original."""
    return (
        audience.description,
        audience.labels,
        audience.include_anonymous,
        audience.events_since,
        audience.versions.latest("number").definition,
    )


def test_a_copy_has_the_definition_and_the_options_and_goes_nowhere(cast, audience, api):
    make_subscription(audience, make_destination(cast.space))
    made = api("POST", f"audiences/{audience.public_id}/duplicate")["audience"]
    copy = Audience.objects.get(public_id=made["id"])
    assert (copy.name, copy.key, copy.enabled) == ("Buyers copy", "buyers_copy", True)
    assert kept(copy) == kept(audience)
    assert not copy.subscriptions.exists()
    assert made["createdBy"] == cast.people["user"].public_id
    assert api("POST", f"audiences/{audience.public_id}/duplicate")["audience"]["key"] == "buyers_copy_2"


def test_a_copy_may_be_given_a_name_and_a_key(audience, api):
    body = {"name": "Buyers, Norway", "key": "buyers_no"}
    made = api("POST", f"audiences/{audience.public_id}/duplicate", body)["audience"]
    assert (made["name"], made["key"]) == ("Buyers, Norway", "buyers_no")
    assert api("POST", f"audiences/{audience.public_id}/duplicate", body, status=422)["field"] == "key"


def test_the_name_of_a_copy_fits_however_long_that_of_the_original_is(audience, api):
    audience.name = "x" * 255
    audience.save()
    assert api("POST", f"audiences/{audience.public_id}/duplicate")["audience"]["name"] == "x" * 250 + " copy"


def test_what_cannot_be_read_is_not_copied(cast, audience, api, base):
    Version.objects.filter(audience=audience).update(definition=UNREADABLE)
    api("POST", f"audiences/{audience.public_id}/duplicate", status=409)
    answer = cast.browser("user").post(f"{base}/audiences/new", {"copy": audience.public_id})
    assert answer.url == f"{base}/audiences/{audience.public_id}"
    assert (Audience.objects.count(), Draft.objects.count()) == (1, 0)


def test_a_computed_trait_is_copied_too(trait, api):
    made = api("POST", f"computed-traits/{trait.public_id}/duplicate")["computedTrait"]
    copy = ComputedTrait.objects.get(public_id=made["id"])
    assert (copy.name, copy.key, kept(copy)) == ("Orders copy", "orders_copy", kept(trait))


@pytest.mark.parametrize("who", ["read_only", "member"])
def test_only_whoever_may_use_the_space_makes_a_copy(cast, audience, trait, api, base, who):
    for path in (f"audiences/{audience.public_id}", f"computed-traits/{trait.public_id}"):
        api("POST", f"{path}/duplicate", status=403, who=who)
        assert "Duplicate" not in cast.browser(who).get(f"{base}/{path}").content.decode()
    assert Audience.everything.count() == 2


def test_the_page_opens_the_builder_with_the_copy(cast, audience, base):
    user = cast.browser("user")
    page = user.get(f"{base}/audiences/{audience.public_id}").content.decode()
    assert f'name="copy" value="{audience.public_id}"' in page
    answer = user.post(f"{base}/audiences/new", {"copy": audience.public_id})
    draft = Draft.objects.get()
    assert answer.url.endswith(f"/audiences/drafts/{draft.public_id}")
    assert (draft.name, draft.description, draft.labels) == ("Buyers copy", "Who bought", ["vip"])
    assert (draft.include_anonymous, draft.include_historical) == (True, False)
    assert 'value="Ordered"' in user.get(answer.url).content.decode()
    assert Audience.objects.count() == 1


def test_the_form_of_a_computed_trait_is_filled_with_the_copy(cast, trait, base):
    user = cast.browser("user")
    page = unescape(user.get(f"{base}/computed-traits/{trait.public_id}").content.decode())
    form = re.search(r'href="([^"]+\?copy=[^"]+)"', page)[1]
    filled = user.get(form).content.decode()
    assert all(f'value="{value}"' in filled for value in ("Orders copy", "Ordered"))
    assert "In 30 days" in filled
    sent = fields_of(draft_form.of_definition(ORDERS)) | {"include_historical": "on", "name": "Orders copy"}
    assert user.post(form.partition("?")[0], sent | {"act": "save"}).status_code == 302
    assert ComputedTrait.objects.filter(name="Orders copy").exists()
    Version.objects.filter(audience=trait).update(definition=UNREADABLE)
    assert user.get(form).url == f"{base}/computed-traits/{trait.public_id}"


def test_what_is_somebody_elses_cannot_be_copied(cast, audience, trait, api):
    theirs = f"/w/{cast.other_workspace.slug}/s/{cast.other_space.slug}"
    stranger = cast.browser("stranger")
    assert stranger.post(f"{theirs}/audiences/new", {"copy": audience.public_id}).status_code == 404
    assert stranger.get(f"{theirs}/computed-traits/new", {"copy": trait.public_id}).status_code == 404
    assert not Draft.objects.exists()
