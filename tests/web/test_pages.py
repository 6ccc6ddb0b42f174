"""What pages say, and what they cost."""

import re
from datetime import UTC, datetime

import pytest
from django.contrib.staticfiles import finders
from django.db import connection
from django.template.loader import render_to_string
from django.test import Client
from django.test.utils import CaptureQueriesContext

from audiences.models import Audience
from console.pages.navigation import IN_SPACE, IN_WORKSPACE
from destinations.models import Subscription
from identity.models import Profile
from personas_site import health, pipeline
from sources.models import Inbox, Replay, Tally
from spaces.batches import open_log
from spaces.clock import clock
from spaces.models import Log
from tests.cast import PASSWORD
from tests.factories import SourceFactory, UserFactory
from tests.factories_destinations import AudienceFactory, make_destination, make_subscription
from tests.factories_identity import IdentifierFactory, ProfileFactory
from tests.factories_sources import ConnectionFactory
from tests.routes import pages
from tests.sample_rows import belongings

pytestmark = pytest.mark.django_db


def path(cast, rest):
    return f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{rest}"


def text(cast, rest, who="owner", **query):
    answer = cast.browser(who).get(path(cast, rest), query)
    assert answer.status_code == 200
    return answer.content.decode()


def test_signing_in_leads_back_to_where_one_was_going(cast):
    user = cast.people["owner"]
    user.set_password(PASSWORD)
    user.save()
    there = f"/w/{cast.workspace.slug}/"
    answer = Client().post("/sign-in", {"username": user.email.upper(), "password": PASSWORD, "next": there})
    assert answer.headers["Location"] == there


@pytest.mark.parametrize("there", ["https://example.com/", "//example.com", "javascript:alert(1)"])
def test_nobody_is_led_away_after_signing_in_or_changing_colours(there):
    user = UserFactory()
    user.set_password(PASSWORD)
    user.save()
    answer = Client().post("/sign-in", {"username": user.email, "password": PASSWORD, "next": there})
    assert answer.headers["Location"] == "/"
    assert Client().post("/theme", {"theme": "dark", "next": there}).headers["Location"] == "/"


def test_a_wrong_password_and_an_unknown_address_look_the_same():
    user = UserFactory()
    for name in (user.email, "nobody@example.com"):
        page = Client().post("/sign-in", {"username": name, "password": "no"}).content.decode()
        assert re.findall(r'role="alert">(.*?)<', page) == ["No account has this e-mail address and password."]


def test_every_answer_has_the_content_policy(cast):
    for where in ("/sign-in", "/api/nothing", "/nowhere", path(cast, "sources")):
        policy = cast.browser("owner").get(where).headers["Content-Security-Policy"]
        assert policy.startswith("default-src 'self'")
        assert "unsafe" not in policy


def test_a_form_without_its_token_is_refused_with_a_page():
    answer = Client(enforce_csrf_checks=True).post("/sign-in", {"username": "a", "password": "b"})
    assert answer.status_code == 403
    assert "too old" in answer.content.decode()


def test_signing_out_takes_a_post(cast):
    browser = cast.browser("owner")
    assert browser.get("/sign-out").status_code == 405
    browser.post("/sign-out")
    assert browser.get("/").status_code == 302


def test_the_page_for_our_own_failure_needs_no_store(django_assert_num_queries):
    with django_assert_num_queries(0):
        assert "Something went wrong" in render_to_string("500.html", {"message": "…"})


def test_a_member_without_a_role_sees_no_space_and_is_told_why(cast):
    page = cast.browser("member").get(f"/w/{cast.workspace.slug}/").content.decode()
    assert "No space is open to you" in page
    assert cast.space.name not in page


def test_the_navigation_holds_only_what_one_may_open(cast):
    assert (
        f"/w/{cast.workspace.slug}/sources" in cast.browser("owner").get(f"/w/{cast.workspace.slug}/").content.decode()
    )
    assert (
        f"/w/{cast.workspace.slug}/sources"
        not in cast.browser("user").get(f"/w/{cast.workspace.slug}/").content.decode()
    )


def test_every_place_of_the_navigation_is_a_page():
    names = {route.name for route in pages()}
    for place in (*IN_WORKSPACE, *IN_SPACE):
        assert {place.name, *place.also} <= names


@pytest.mark.parametrize(
    "wanted", ["email:ada@example.com", "ada@example.com", " ADA@example.com ", "visitor-1", "anonymous_id:visitor-1"]
)
def test_somebody_is_found_by_any_identifier(cast, wanted):
    ada = ProfileFactory(space=cast.space, traits={"name": "Ada"})
    IdentifierFactory(space=cast.space, profile=ada.number, type="email", value="ada@example.com")
    IdentifierFactory(space=cast.space, profile=ada.number, type="anonymous_id", value="visitor-1")
    ProfileFactory(space=cast.space, traits={"name": "Björn"})
    page = text(cast, "profiles", q=wanted)
    assert "Ada" in page
    assert "Björn" not in page


def test_a_search_finds_nobody_of_another_space(cast):
    theirs = ProfileFactory(space=cast.other_space, traits={"name": "Ada"})
    IdentifierFactory(space=cast.other_space, profile=theirs.number, type="email", value="ada@example.com")
    for wanted in ("ada@example.com", theirs.public_id):
        assert "No profiles found" in text(cast, "profiles", q=wanted)


def test_an_id_that_was_merged_away_leads_to_the_profile_it_is_part_of(cast):
    winner = ProfileFactory(space=cast.space)
    loser = ProfileFactory(space=cast.space, merged_into=winner.number)
    answer = cast.browser("owner").get(path(cast, f"profiles/{loser.public_id}"))
    assert answer.headers["Location"].endswith(winner.public_id)
    assert winner.public_id in text(cast, "profiles", q=loser.public_id)


def test_what_was_sent_is_shown_as_text_and_never_as_markup(cast):
    mean = "<script>alert(1)</script>"
    person = ProfileFactory(space=cast.space, traits={"name": mean, mean: mean})
    IdentifierFactory(space=cast.space, profile=person.number, type="user_id", value=mean)
    for rest in ("profiles", f"profiles/{person.public_id}"):
        assert mean not in text(cast, rest)
    assert mean not in text(cast, "profiles", q=mean)


def test_a_trait_of_any_shape_is_shown(cast):
    traits = {"a": None, "b": [1, {"c": 2}], "d": True, "name": 7, "email": ["x"], "first_name": {}}
    person = ProfileFactory(space=cast.space, traits=traits, traits_seen={"b": [1_700_000_000_000, 999_999, 1, 0]})
    page = text(cast, f"profiles/{person.public_id}")
    assert "[1, {&quot;c&quot;: 2}]" in page
    assert "a deleted source" in page


def test_the_next_page_of_people_goes_on_where_the_first_ended(cast):
    ProfileFactory.create_batch(53, space=cast.space)
    browser = cast.browser("owner")
    first = browser.get(path(cast, "profiles"))
    last_shown = first.context["people"][-1].profile.number
    second = browser.get(first.context["pager"].next)
    numbers = [person.profile.number for person in second.context["people"]]
    assert len(numbers) == 3
    assert max(numbers) < last_shown
    assert not second.context["pager"].next


@pytest.mark.parametrize("after", ["x", "-1", "9" * 40, "²"])
def test_a_senseless_position_shows_the_first_page(cast, after):
    person = ProfileFactory(space=cast.space)
    assert person.public_id in text(cast, "profiles", after=after)


def steps(cast):
    """What the first page of the space says of each stage: the pill, and the text."""
    page = cast.browser("owner").get(path(cast, ""))
    return [(stage["status"].pill.label, stage["status"].text) for stage in page.context["stages"]]


def test_an_empty_space_says_what_to_do_first(cast):
    assert [pill for pill, _ in steps(cast)] == ["No source", "Nothing yet", "No audience", "Nothing connected"]


def test_the_first_page_of_a_space_shows_where_things_wait(cast):
    source = SourceFactory(workspace=cast.workspace)
    connection = ConnectionFactory(space=cast.space, source=source)
    assert steps(cast)[0] == ("Nothing yet", "No connected source has sent anything.")
    Tally.objects.create(workspace=cast.workspace, source=source, archived=1, last_received_at=clock.now())
    assert steps(cast)[0][0] == "Up to date"
    Inbox.objects.create(workspace=cast.workspace, source=source, call="track", body=b"{}", received_at=clock.now())
    assert steps(cast)[0] == ("Archiving", "Requests waiting to be archived: 1.")
    running = {"since": clock.now(), "until": clock.now(), "total": 1000, "done": 10}
    connection.replay = Replay.objects.create(workspace=cast.workspace, space=cast.space, **running)
    connection.save()
    assert steps(cast)[1] == ("Replaying", "Past events come in, oldest first. Events waiting: 990.")


def test_a_stage_that_fails_says_since_when_whose_fault_it_is_and_to_whom_may_know_why(cast):
    source = SourceFactory(workspace=cast.workspace)
    ConnectionFactory(space=cast.space, source=source)
    subscription = make_subscription(AudienceFactory(space=cast.space), make_destination(cast.space))
    owners = {"archive": source.pk, "resolve": cast.space.pk, "evaluate": cast.space.pk, "sync": subscription.pk}
    fault = {"fault": "code", "error": "TypeError: no <b>name</b>", "failing_since": clock.now()}
    for place, (stage, owner) in enumerate(owners.items()):
        log = open_log(stage=stage, partition=owner, workspace_id=cast.workspace.pk)
        Log.objects.filter(pk=log.pk).update(failures=4, **fault)
        pills = [pill for pill, _ in steps(cast)]
        assert pills.count("Stopped") == 1
        assert pills[place] == "Stopped"
        shown = text(cast, "")
        assert "A fault of this release. TypeError: no &lt;b&gt;name&lt;/b&gt;" in shown
        assert "Attempts so far: 4, since" in shown
        unsaid = cast.browser("user").get(path(cast, "")).content.decode()
        assert "A fault of this release. Nothing is lost" in unsaid
        assert "TypeError" not in unsaid
        if stage == "resolve":
            assert "could not be resolved, 4 times in a row" in text(cast, "sources")
        Log.objects.filter(pk=log.pk).update(fault="store")
        assert steps(cast)[place][0] == "Delayed"
        Log.objects.filter(pk=log.pk).update(failures=0)
        assert {"Stopped", "Delayed"}.isdisjoint(pill for pill, _ in steps(cast))
    assert "could not be resolved" not in text(cast, "sources")


@pytest.mark.parametrize(
    ("states", "pill"),
    [
        (["in_step"], "In step"),
        (["in_step", "disabled"], "In step"),
        (["in_step", "syncing"], "Sending"),
        (["retrying", "syncing"], "Retrying"),
        (["parked", "in_step"], "Parked"),
        (["suspended"], "Suspended"),
        (["failing", "in_step"], "Failing"),
        (["refused", "syncing"], "Refused in part"),
        (["disabled"], "Disabled"),
    ],
)
def test_the_worst_state_of_a_delivery_is_the_one_that_is_shown(cast, states, pill):
    belongings(cast.space)
    Subscription.objects.update(status=states[0])
    for state in states[1:]:
        more = make_subscription(Audience.objects.get(space=cast.space), make_destination(cast.space))
        Subscription.objects.filter(pk=more.pk).update(status=state)
    assert steps(cast)[3][0] == pill


def test_a_time_can_be_read_by_a_machine():
    at = datetime(2026, 6, 15, 12, 0, 7, 123456, tzinfo=UTC)
    shown = render_to_string("components/time.html", {"at": at})
    assert shown.strip() == '<time datetime="2026-06-15T12:00:07Z">15 Jun 2026, 12:00 UTC</time>'


def test_pages_cost_the_same_queries_for_few_rows_and_for_many(cast):
    def cost(where):
        with CaptureQueriesContext(
            connection,
        ) as asked:
            assert cast.browser("owner").get(where).status_code == 200
        return len(asked)

    def furnish(rows):
        for _ in range(rows):
            ConnectionFactory(space=cast.space, source=SourceFactory(workspace=cast.workspace))
            person = ProfileFactory(space=cast.space)
            IdentifierFactory(space=cast.space, profile=person.number)

    places = [path(cast, ""), path(cast, "sources"), path(cast, "profiles"), f"/w/{cast.workspace.slug}/sources"]
    furnish(2)
    few = [cost(place) for place in places]
    furnish(20)
    assert [cost(place) for place in places] == few
    assert Profile.objects.filter(space=cast.space).count() == 22


def test_the_assets_come_from_installed_packages():
    for name in (
        "js-lib-bootstrap5/css/bootstrap.min.css",
        "django_htmx/htmx-2.min.js",
        "base/tokens.css",
        "icons.svg",
    ):
        assert finders.find(name), name


def test_liveness_needs_no_store_and_readiness_names_each(monkeypatch):
    assert Client().get("/livez").content == b"ok"
    parts = ("postgresql", "clickhouse", "redis", "disk", "workers", "static files")
    assert Client().get("/readyz").json() == dict.fromkeys(parts, "ok")

    def away():
        raise ConnectionError("refused, and here is the password: secret")

    monkeypatch.setitem(health.CHECKS, "redis", health.Check(away, "Redis", ""))
    answer = Client().get("/readyz")
    assert answer.status_code == 503
    assert answer.json() == dict.fromkeys(parts, "ok") | {"redis": "not ready"}
    assert "secret" not in answer.content.decode()


def test_while_the_disk_is_almost_full_every_page_says_so_and_no_stage_works(cast, settings, monkeypatch):
    page = f"/w/{cast.workspace.slug}/"
    monkeypatch.setattr("personas_site.pipeline._owners", lambda work, now: {1: 1})
    assert "disk is almost full" not in cast.browser("owner").get(page).content.decode()
    assert pipeline.who_waits("archive", clock.now())
    settings.DISK_RESERVE = 1 << 60
    text = cast.browser("owner").get(page).content.decode()
    assert "The disk is almost full" in text
    assert "profiles, audiences and deliveries stand still" in text
    assert Client().get("/readyz").json()["disk"] == "not ready"
    assert pipeline.who_waits("archive", clock.now()) == {}
    makes_room = {("deletion", 1): 1, ("regulation", 1): 1}
    assert pipeline.who_waits("bulk", clock.now()) == makes_room
