"""The first page of a workspace: the steps are seen from what is there, and its spaces with their figures."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access.services import COMMAND, Invited, invite
from audiences.models import Version
from destinations.models import Subscription
from sources.models import Connection, Replay
from spaces.clock import clock
from spaces.models import Space
from tests.cast import make_cast
from tests.factories import MembershipFactory, SourceFactory, SpaceFactory, WorkspaceFactory
from tests.factories_destinations import AudienceFactory, make_destination, make_people, make_subscription
from tests.factories_sources import ConnectionFactory

pytestmark = pytest.mark.django_db


def home(cast, who="owner"):
    answer = cast.browser(who).get(f"/w/{cast.workspace.slug}/")
    assert answer.status_code == 200
    return answer


def done(cast, who="owner"):
    return [row["step"].number for row in home(cast, who).context["steps"] if row["step"].done]


def text(answer):
    return re.sub(r"\s+", " ", re.sub(r"<[^>]+>", " ", answer.content.decode()))


def filled(space):
    """Everything that steps 3 to 7 ask for."""
    ConnectionFactory(space=space, source=SourceFactory(workspace=space.workspace), state=Connection.State.LIVE)
    make_people(space, 2, prefix=f"{space.slug}-")
    subscription = make_subscription(AudienceFactory(space=space), make_destination(space))
    Subscription.objects.filter(pk=subscription.pk).update(status=Subscription.Status.IN_STEP)


def test_each_step_detects_itself(cast):
    space = cast.space
    assert done(cast) == [1, 2]
    listens = ConnectionFactory(space=space, source=SourceFactory(workspace=cast.workspace))
    running = {"since": clock.now(), "until": clock.now(), "total": 200, "done": 50}
    listens.replay = Replay.objects.create(workspace=cast.workspace, space=space, **running)
    listens.state = Connection.State.REPLAYING
    listens.save()
    assert done(cast) == [1, 2]
    assert "The replay is at 25 %" in text(home(cast))
    Connection.objects.update(state=Connection.State.LIVE)
    Replay.objects.update(state=Replay.State.COMPLETE)
    assert done(cast) == [1, 2, 3]
    make_people(space, 3)
    assert done(cast) == [1, 2, 3, 4]
    audience = AudienceFactory(space=space)
    assert done(cast) == [1, 2, 3, 4, 5]
    make_subscription(audience, make_destination(space))
    assert done(cast) == [1, 2, 3, 4, 5, 6]
    Subscription.objects.update(status=Subscription.Status.IN_STEP)
    assert done(cast) == [1, 2, 3, 4, 5, 6, 7]
    filled(SpaceFactory(workspace=cast.workspace, kind=Space.Kind.PROD))
    assert done(cast) == [*range(1, 9)]
    assert "All eight steps are done" in text(home(cast))


def test_an_invitation_is_a_step_and_a_deleted_audience_is_none():
    workspace = WorkspaceFactory()
    owner = MembershipFactory(workspace=workspace, role="owner").user
    cast = make_cast()
    cast.workspace, cast.people["owner"] = workspace, owner
    assert done(cast) == []
    invite(workspace, [Invited("new@example.com")], by=COMMAND, origin="http://testserver")
    AudienceFactory(space=SpaceFactory(workspace=workspace), deleted_at=clock.now())
    assert done(cast) == [1, 2]


def test_there_is_one_primary_button_and_it_leads_to_a_page(cast):
    answer = home(cast)
    assert answer.content.decode().count("btn-primary") == 1
    current = next(row for row in answer.context["steps"] if row["step"].state == "current")
    assert current["step"].number == 3
    assert cast.browser("owner").get(current["url"]).status_code == 200


def test_the_steps_about_an_audience_lead_to_the_very_audience(cast):
    audience = AudienceFactory(space=cast.space)
    subscription = make_subscription(audience, make_destination(cast.space))
    rows = home(cast).context["steps"]
    assert rows[6]["url"].endswith(f"/audiences/{audience.public_id}/destinations/{subscription.public_id}")
    subscription.delete()
    assert home(cast).context["steps"][5]["url"].endswith(f"/audiences/{audience.public_id}/connect")


@pytest.mark.parametrize("who", ["owner", "admin", "user", "read_only"])
def test_no_step_leads_where_one_may_not_go(cast, who):
    for furnish in (lambda: None, lambda: filled(cast.space)):
        furnish()
        Version.objects.update(definition={"kind": "event", "name": "Bought"})
        for row in home(cast, who).context["steps"]:
            if row["url"]:
                assert cast.browser(who).get(row["url"]).status_code == 200, row


def test_who_may_not_do_a_step_sees_how_it_stands_without_a_button(cast):
    page = home(cast, "read_only")
    assert "btn-primary" not in page.content.decode()
    assert "Ask an owner or admin to do this" in text(page)


def test_what_is_in_other_spaces_is_neither_shown_nor_counted(cast):
    hidden = SpaceFactory(workspace=cast.workspace, name="Secret plans")
    filled(hidden)
    filled(cast.other_space)
    assert done(cast, "user") == [1, 2]
    assert "Secret plans" not in text(home(cast, "user"))
    assert done(cast) == [1, 2, 3, 4, 5, 6, 7]
    assert cast.browser("stranger").get(f"/w/{cast.workspace.slug}/").status_code == 404


def test_a_member_without_a_space_gets_no_checklist(cast):
    assert home(cast, "member").context["steps"] == []


def test_the_steps_are_hidden_and_shown_again(cast):
    browser, where = cast.browser("user"), f"/w/{cast.workspace.slug}/"
    answer = browser.post(where, {"steps": "hide"})
    assert answer.headers["Location"] == where
    assert answer.cookies["steps-hidden"]["path"] == where
    page = browser.get(where).content.decode()
    assert "Getting started" not in page
    assert "Show the eight steps" in page
    browser.post(where, {"steps": "show"})
    assert "Getting started" in browser.get(where).content.decode()


def test_one_step_is_hidden_and_the_next_that_is_open_takes_its_turn(cast):
    browser, where = cast.browser("owner"), f"/w/{cast.workspace.slug}/"

    def listed():
        steps = [row["step"] for row in browser.get(where).context["steps"]]
        return [step.number for step in steps], [step.number for step in steps if step.state == "current"]

    everything, current = listed()
    assert everything == list(range(1, 9))
    browser.post(where, {"steps": str(current[0])})
    browser.post(where, {"steps": "8"})
    browser.post(where, {"steps": "99"})
    assert listed() == ([n for n in everything if n not in (current[0], 8)], [current[0] + 1])
    browser.post(where, {"steps": "show"})
    assert listed() == (everything, current)


def test_a_space_is_shown_with_its_figures_and_how_it_is(cast):
    filled(cast.space)
    assert "Working" in text(home(cast))
    assert "2 profiles 1 audience 1 source" in text(home(cast))
    for status, said in (
        ("parked", "Deliveries stopped"),
        ("failing", "Deliveries stopped"),
        ("refused", "People refused"),
    ):
        Subscription.objects.update(status=status)
        assert said in text(home(cast))
    Subscription.objects.update(enabled=False)
    assert "Working" in text(home(cast))


def test_not_all_is_done_while_deliveries_are_stopped(cast):
    """One in step beside five that nothing gets through on."""
    for kind in Space.Kind:
        filled(cast.space if cast.space.kind == kind else SpaceFactory(workspace=cast.workspace, kind=kind))
    assert done(cast) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert "All eight steps are done" in text(home(cast))
    space = Space.objects.get(workspace=cast.workspace, kind=Space.Kind.DEV)
    for status in ("suspended", "parked", "failing", "refused", "differs"):
        subscription = make_subscription(AudienceFactory(space=space), make_destination(space))
        Subscription.objects.filter(pk=subscription.pk).update(status=status)
        assert 7 not in done(cast)
    assert "3 deliveries stopped" in text(home(cast))
    assert "All eight steps are done" not in text(home(cast))
    Subscription.objects.filter(space=space).update(status="suspended")
    assert 6 not in done(cast)
    Subscription.objects.filter(space=space).update(status="refused")
    assert 6 in done(cast)
    assert 7 not in done(cast)


def test_the_only_workspace_is_opened_at_once_and_several_are_listed(cast):
    browser = cast.browser("owner")
    assert browser.get("/").headers["Location"] == f"/w/{cast.workspace.slug}/"
    other = MembershipFactory(user=cast.people["owner"]).workspace
    page = browser.get("/").content.decode()
    assert other.name in page
    assert cast.workspace.name in page


def test_the_page_costs_the_same_queries_for_many_spaces(cast):
    def cost():
        with CaptureQueriesContext(connection) as asked:
            home(cast)
        return len(asked)

    filled(cast.space)
    few = cost()
    for _ in range(6):
        filled(SpaceFactory(workspace=cast.workspace))
    assert cost() == few
