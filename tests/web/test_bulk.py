"""Several audiences or computed traits are changed at once, on the lists and by the API."""

import pytest
from django.contrib.messages import get_messages

from access.models import AuditEntry
from audiences import services
from audiences.bulk import MOST_AT_ONCE
from audiences.models import Audience
from tests.factories import SpaceFactory

pytestmark = pytest.mark.django_db

ORDERED = {"kind": "event", "name": "Ordered"}
ORDERS = {"kind": "event_counter", "name": "Ordered"}
KINDS = {
    "audiences": (services.create_audience, ORDERED, "audienceIds"),
    "computed-traits": (services.create_trait, ORDERS, "traitIds"),
}


@pytest.fixture(params=KINDS)
def several(cast, request):
    """The path of a list, the name of its ids in a body, and three rows, by name."""
    create, definition, ids = KINDS[request.param]
    rows = [create(cast.space, name=name, definition=definition, by=cast.people["user"]) for name in "abc"]
    return request.param, ids, rows


@pytest.fixture
def post(cast):
    """What the list answers, as (answer, messages)."""

    def send(path, rows, *, who="user", query="", **fields):
        where = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{path}{query}"
        answer = cast.browser(who).post(where, {"id": [row.public_id for row in rows], **fields})
        return answer, [str(message) for message in get_messages(answer.wsgi_request)]

    return send


def now(rows, field):
    return [getattr(Audience.everything.get(pk=row.pk), field) for row in rows]


def test_the_ticked_ones_are_disabled_and_enabled_again(post, several):
    path, _, rows = several
    answer, told = post(path, rows[:2], do="disable", query="?view=dense&sort=name")
    assert (answer.status_code, answer.url.partition("?")[2]) == (302, "view=dense&sort=name")
    assert told[0].startswith("2 ")
    assert now(rows, "enabled") == [False, False, True]
    post(path, rows, do="enable")
    assert now(rows, "enabled") == [True] * 3
    assert [row.versions.count() for row in rows] == [2, 2, 1]  # the third was enabled all the time


def test_the_ticked_ones_get_a_label(post, several):
    path, _, rows = several
    services.change_audience(rows[0], labels=["vip"], by=AuditEntry.objects.latest("pk").actor)
    post(path, rows[:2], do="label", label=" vip ")
    assert now(rows, "labels") == [["vip"], ["vip"], []]
    for wrong in ("", "a,b", "x" * 41):
        _, told = post(path, rows, do="label", label=wrong)
        assert "label" in told[0].lower()
    assert now(rows, "labels") == [["vip"], ["vip"], []]


def test_one_that_has_too_many_labels_stops_no_other(post, several):
    path, _, rows = several
    full = [str(number) for number in range(20)]
    services.change_audience(rows[0], labels=full, by=AuditEntry.objects.latest("pk").actor)
    _, told = post(path, rows, do="label", label="new")
    assert now(rows, "labels") == [full, ["new"], ["new"]]
    assert any(message.startswith("a: There may be 20 labels") for message in told)


def test_deleting_asks_first(post, several):
    path, _, rows = several
    answer, _ = post(path, rows[:2], do="delete")
    assert answer.status_code == 200
    page = answer.content.decode()
    assert f'data-must-be="{answer.context["phrase"]}"' in page
    assert all(row.public_id in page for row in rows[:2])
    wrong, _ = post(path, rows[:2], do="delete", confirm="2")
    assert wrong.status_code == 422
    assert now(rows, "deleted_at") == [None] * 3
    answer, told = post(path, rows[:2], do="delete", confirm=answer.context["phrase"])
    assert answer.status_code == 302
    assert "are deleted" in told[0]
    assert [at is None for at in now(rows, "deleted_at")] == [False, False, True]
    one, _ = post(path, rows[2:], do="delete")
    assert one.context["phrase"] == "c"


def test_what_others_ask_about_stays_unless_they_go_too(cast, post):
    by = cast.people["user"]
    first = services.create_audience(cast.space, name="a", definition=ORDERED, by=by)
    second = services.create_audience(cast.space, name="b", definition={"kind": "audience", "key": "a"}, by=by)
    third = services.create_audience(cast.space, name="c", definition={"kind": "audience", "key": "b"}, by=by)
    _, told = post("audiences", [first, second], do="delete", confirm="2 audiences")
    assert len(told) == 2
    assert all("It is part of other audiences" in message for message in told)
    post("audiences", [first, second, third], do="delete", confirm="3 audiences")
    assert None not in now([first, second, third], "deleted_at")


@pytest.mark.parametrize("fields", [{}, {"do": "explode"}, {"do": ""}])
def test_without_anything_to_do_nothing_is_done(post, several, fields):
    path, _, rows = several
    answer, told = post(path, rows, **fields)
    assert (answer.status_code, len(told)) == (302, 1)
    assert post(path, [], do="disable")[1][0].startswith("Tick the ")
    assert now(rows, "enabled") == [True] * 3


def test_more_than_a_page_is_refused(cast, post):
    row = services.create_audience(cast.space, name="a", definition=ORDERED, by=cast.people["user"])
    _, told = post("audiences", [row] * (MOST_AT_ONCE + 1), do="disable")
    assert told == [f"At most {MOST_AT_ONCE} can be changed at once."]
    assert now([row], "enabled") == [True]


@pytest.mark.parametrize("do", ["enable", "disable", "label", "delete"])
def test_an_id_of_another_space_is_not_found_and_nothing_is_done(cast, api, post, several, do):
    path, ids, rows = several
    create, definition, _ = KINDS[path]
    by, sister = cast.people["owner"], SpaceFactory(workspace=cast.workspace)
    foreign = [create(space, name="x", definition=definition, by=by) for space in (cast.other_space, sister)]
    kind = {"audiences": services.create_trait, "computed-traits": services.create_audience}[path]
    foreign.append(kind(cast.space, name="y", definition=ORDERS if "aud" in path else ORDERED, by=by))  # of the other
    for other in foreign:
        fields = {"do": do, "label": "z", "confirm": "4 audiences"}
        assert post(path, [*rows, other], **fields)[0].status_code == 404
        body = {"action": do, "label": "z", ids: [row.public_id for row in [*rows, other]]}
        api("POST", f"{path}/bulk", body, status=404)
    assert now([*rows, *foreign], "enabled") == [True] * 6
    assert now([*rows, *foreign], "deleted_at") == [None] * 6
    assert now([*rows, *foreign], "labels") == [[]] * 6


@pytest.mark.parametrize("who", ["read_only", "member"])
def test_only_whoever_may_use_the_space_changes_several(cast, api, post, several, who):
    path, ids, rows = several
    assert post(path, rows, who=who, do="disable")[0].status_code == 403
    api("POST", f"{path}/bulk", {"action": "disable", ids: [rows[0].public_id]}, status=403, who=who)
    page = cast.browser(who).get(f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{path}").content.decode()
    assert 'name="id"' not in page
    assert now(rows, "enabled") == [True] * 3


def test_by_the_api_each_says_what_became_of_it(api, several):
    path, ids, rows = several
    public_ids = [row.public_id for row in rows]
    outcomes = api("POST", f"{path}/bulk", {"action": "label", "label": "vip", ids: public_ids})["outcomes"]
    assert outcomes == [{"id": public_id, "done": True, "problem": ""} for public_id in public_ids]
    assert now(rows, "labels") == [["vip"]] * 3
    api("POST", f"{path}/bulk", {"action": "disable", ids: public_ids[:1]})
    assert now(rows, "enabled") == [False, True, True]
    api("POST", f"{path}/bulk", {"action": "delete", ids: public_ids[:2]})
    assert [at is None for at in now(rows, "deleted_at")] == [False, False, True]
    api("POST", f"{path}/bulk", {"action": "enable", ids: public_ids}, status=404)  # two are gone


@pytest.mark.parametrize(
    ("wrong", "field"),
    [
        ({"action": "explode"}, "action"),
        ({"action": "label"}, "label"),
        ({"action": "label", "label": "a,b"}, "label"),
        ({"audienceIds": []}, "audienceIds"),
        ({"audienceIds": ["aud_1"] * 101}, "audienceIds"),
    ],
)
def test_a_wrong_body_says_where(cast, api, wrong, field):
    row = services.create_audience(cast.space, name="a", definition=ORDERED, by=cast.people["user"])
    body = {"action": "disable", "audienceIds": [row.public_id]} | wrong
    assert api("POST", "audiences/bulk", body, status=422)["field"].startswith(field)


def test_what_is_asked_about_says_so_by_the_api(cast, api):
    by = cast.people["user"]
    asked = services.create_audience(cast.space, name="a", definition=ORDERED, by=by)
    services.create_audience(cast.space, name="b", definition={"kind": "audience", "key": "a"}, by=by)
    (outcome,) = api("POST", "audiences/bulk", {"action": "delete", "audienceIds": [asked.public_id]})["outcomes"]
    assert outcome["done"] is False
    assert "It is part of other audiences: b" in outcome["problem"]


def test_the_compact_view_has_a_line_for_each_and_keeps_the_filter(cast, several):
    path, _, rows = several
    where = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{path}"
    page = cast.browser("user").get(where, {"view": "dense", "q": "a"})
    text = page.content.decode()
    assert 'class="list dense"' in text
    assert 'name="view" value="dense"' in text
    assert f'value="{rows[0].public_id}"' in text
    assert "view=dense" in page.context["table"].headings[0].url
    assert "view=" not in page.context["full_url"]
    assert 'class="list"' in cast.browser("user").get(where, {"view": "other"}).content.decode()
