"""An audience is deleted after everyone was sent out, in a real browser and by keyboard."""

import pytest

from audiences.models import Audience
from destinations import endings, sync
from spaces.batches import advance, open_log
from spaces.clock import FixedClock, clock
from tests.page_checks import look, sign_in

pytestmark = pytest.mark.django_db(transaction=True)


def test_everyone_is_sent_out_and_the_page_says_how_far_that_is(page, live_server, room, complaints):
    sign_in(page, live_server, room)
    where = f"{live_server.url}/w/northwind/s/shop-dev/audiences/{room.audience.public_id}/settings"
    page.goto(where)
    page.get_by_text("Delete the audience …").focus()
    page.keyboard.press("Enter")
    assert look(page, "audience-delete") == []
    page.get_by_label("Send everyone out of its destinations first").focus()
    page.keyboard.press("Space")
    page.keyboard.press("Tab")
    page.keyboard.type(room.audience.name)
    page.keyboard.press("Enter")
    page.get_by_role("heading", name="Being deleted").wait_for()
    assert page.get_by_text("not counted yet").is_visible()
    log = open_log(stage="sync", partition=room.subscription.pk, workspace_id=room.workspace.pk)
    while advance(sync.STAGE, log):
        pass
    page.reload()
    page.get_by_text("nobody is left; that is checked once more").wait_for()
    assert look(page, "audience-ending") == []
    later = FixedClock(clock.now() + endings.SETTLED)
    while advance(sync.Sync(later), log):
        pass
    page.reload()
    assert endings.emptied() == [room.audience.pk]
    assert endings.finish(room.audience.pk, clock.now())
    assert page.goto(where).status == 404
    assert Audience.objects.get(pk=room.audience.pk).deleted_at
    complaints[:] = [complaint for complaint in complaints if "404" not in complaint]
    assert not complaints, complaints
