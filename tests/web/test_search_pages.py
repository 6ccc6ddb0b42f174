"""Whatever is pasted leads to the thing, in the spaces that one may read and in no other."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access import services
from identity.models import Profile
from sources.models import Source, WriteKey
from tests.factories import SpaceFactory
from tests.factories_destinations import AudienceFactory, make_destination, make_person
from tests.sample_rows import belongings

pytestmark = pytest.mark.django_db


def ask(cast, text, who="owner"):
    return cast.browser(who).get(f"/w/{cast.workspace.slug}/search", {"q": text})


def names(answer):
    assert answer.status_code == 200
    return [hit.name for hit in answer.context["hits"]]


@pytest.mark.parametrize(
    "what",
    [
        "space_id",
        "source_id",
        "key",
        "audience_id",
        "trait_id",
        "destination_id",
        "subscription_id",
        "connection_id",
        "replay_id",
    ],
)
def test_any_id_leads_to_a_page_of_the_thing(cast, what):
    ids = belongings(cast.space)
    belongings(cast.other_space)
    answer = ask(cast, f"  {ids[what]} ")
    assert answer.status_code == 302
    assert answer.headers["Location"].startswith(f"/w/{cast.workspace.slug}/")
    assert cast.browser("owner").get(answer.headers["Location"]).status_code == 200


@pytest.mark.parametrize(
    "text", ["ada@example.com", " ADA@example.com", "email:ada@example.com", "u-1", "user_id: u-1"]
)
def test_an_identifier_leads_to_the_person(cast, text):
    number = make_person(cast.space, ("email", "ada@example.com"), ("user_id", "u-1"), name="Ada")
    person = Profile.objects.get(space=cast.space, number=number)
    assert ask(cast, text).headers["Location"].endswith(f"/profiles/{person.public_id}")
    assert ask(cast, person.public_id).headers["Location"].endswith(f"/profiles/{person.public_id}")


def test_people_are_found_by_how_their_name_or_address_begins(cast):
    for email, name in (("ada@example.com", "Ada Obi"), ("adam@example.com", "Adam Smith"), ("x@example.com", "Obi")):
        make_person(cast.space, ("email", email), name=name, email=email)
    make_person(cast.other_space, ("email", "ada@theirs.com"), name="Ada of theirs", email="ada@theirs.com")
    closed = SpaceFactory(workspace=cast.workspace, name="Closed")
    make_person(closed, ("email", "ada@closed.com"), name="Ada in a closed space")
    assert names(ask(cast, "ADA", "admin")) == ["Ada Obi", "Adam Smith"]
    assert names(ask(cast, "ada")) == ["Ada in a closed space", "Ada Obi", "Adam Smith"]
    assert ask(cast, "adam@", "admin").status_code == 302  # the only one
    assert names(ask(cast, "%", "admin")) == []
    page = ask(cast, "ada", "admin").content.decode()
    assert "ada@example.com" in page
    assert "theirs" not in page


def test_an_identifier_wins_over_a_name_and_nobody_is_listed_twice(cast):
    make_person(cast.space, ("user_id", "ada"), name="Ada Obi")
    make_person(cast.space, ("user_id", "u-2"), name="Ada Lovelace")
    make_person(cast.space, ("user_id", "obi"), ("email", "obi@example.com"), name="Obi", email="obi@example.com")
    assert ask(cast, "ada").status_code == 302
    assert ask(cast, "obi").status_code == 302


def test_somebody_in_two_spaces_is_listed_with_the_space_of_each(cast):
    second = SpaceFactory(workspace=cast.workspace, name="Second")
    for space in (cast.space, second):
        make_person(space, ("email", "ada@example.com"), name="Ada")
    answer = ask(cast, "ada@example.com")
    assert names(answer) == ["Ada", "Ada"]
    assert {hit.space for hit in answer.context["hits"]} == {cast.space, second}
    assert ask(cast, "ada@example.com", "user").status_code == 302


def test_the_key_of_an_audience_wins_over_what_is_only_named_alike(cast):
    audience = AudienceFactory(space=cast.space, name="Buyers", key="buyers")
    AudienceFactory(space=cast.space, name="Buyers of boots", key="boots")
    AudienceFactory(space=cast.space, name="Buyers, old", key="old", deleted_at="2026-01-01T00:00Z")
    assert ask(cast, "buyers").status_code == 302
    assert names(ask(cast, "Buyer")) == ["Buyers", "Buyers of boots"]
    assert names(ask(cast, "%")) == []
    assert ask(cast, audience.public_id).status_code == 302


def test_nothing_of_a_space_that_one_may_not_read_is_found(cast):
    closed = SpaceFactory(workspace=cast.workspace, name="Closed")
    for space in (closed, cast.other_space):
        make_person(space, ("email", "x@example.com"))
    theirs = [belongings(space) for space in (closed, cast.other_space)]
    wanted = [value for ids in theirs for name, value in ids.items() if name not in ("workspace", "key", "source_id")]
    for text in (*wanted, "x@example.com", "Closed", "new_people"):
        assert names(ask(cast, text, "user")) == [], text
    assert ask(cast, "x", "stranger").status_code == 404


def test_a_write_key_is_found_only_by_who_may_see_sources(cast):
    belongings(cast.space)
    source = Source.objects.get(workspace=cast.workspace)
    key = WriteKey.objects.get(source=source).key
    assert ask(cast, key, "admin").status_code == 302
    assert names(ask(cast, key, "user")) == []
    assert names(ask(cast, source.public_id, "user")) == []


def test_a_teammate_is_found_only_by_who_manages_people(cast):
    user = cast.people["user"]
    for text in (user.email.upper(), user.public_id, user.name):
        assert ask(cast, text).headers["Location"].endswith(user.public_id), text
        assert names(ask(cast, text, "admin")) == []
    assert names(ask(cast, cast.people["stranger"].email)) == []


@pytest.mark.parametrize("text", ["nothing of the kind", "use_nobody", ":", "x:", "'\"<b>", "a" * 2000])
def test_nothing_found_says_what_can_be_pasted(cast, text):
    page = ask(cast, text).content.decode()
    assert "Nothing was found" in page
    assert "the key of an audience" in page
    assert "'\"<b>" not in page


def test_an_empty_search_explains_itself_and_every_page_has_the_box(cast):
    assert "What are you looking for?" in ask(cast, "").content.decode()
    assert "data-search" in cast.browser("member").get(f"/w/{cast.workspace.slug}/").content.decode()


def test_it_costs_the_same_queries_for_many_spaces_and_hits(cast):
    def cost():
        with CaptureQueriesContext(connection) as asked:
            assert ask(cast, "ada@example.com").status_code == 200
        return len(asked)

    def more():
        space = SpaceFactory(workspace=cast.workspace)
        make_person(space, ("email", "ada@example.com"), name="Ada")
        AudienceFactory(space=space, name="For ada@example.com")
        make_destination(space)

    more()
    more()
    few = cost()
    for _ in range(6):
        more()
    assert cost() == few


def test_a_member_who_was_given_a_role_finds_what_is_there(cast):
    AudienceFactory(space=cast.space, key="buyers")
    assert names(ask(cast, "buyers", "member")) == []
    services.grant(cast.space, cast.people["member"], "read_only", by=cast.people["owner"])
    assert ask(cast, "buyers", "member").status_code == 302
