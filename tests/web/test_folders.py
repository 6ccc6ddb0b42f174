"""Folders of audiences and computed traits: set, moved to, and listed by, on pages and by the API."""

import re

import pytest

from audiences import drafts, services
from audiences.models import Audience
from tests.cast import words

pytestmark = pytest.mark.django_db

ORDERED = {"kind": "event", "name": "Ordered"}
ORDERS = {"kind": "event_counter", "name": "Ordered"}
KINDS = {
    "audiences": (services.create_audience, ORDERED, "audiences", "audienceIds"),
    "computed-traits": (services.create_trait, ORDERS, "computedTraits", "traitIds"),
}
FOLDERS = {"a": "Campaigns/Summer", "b": "Campaigns", "c": "", "d": "Campaigns 2"}


@pytest.fixture(params=KINDS)
def several(cast, request):
    create, definition, key, ids = KINDS[request.param]
    rows = [
        create(cast.space, name=name, definition=definition, folder=folder, by=cast.people["user"])
        for name, folder in FOLDERS.items()
    ]
    return request.param, key, ids, rows


def test_a_folder_is_set_shown_and_filtered_by_through_the_api(api, several):
    path, key, _, rows = several

    def names(folder):
        return [row["name"] for row in api("GET", f"{path}?folder={folder}", who="read_only")[key]]

    assert names("") == ["a", "b", "c", "d"]
    assert names("Campaigns") == names("/Campaigns/") == ["a", "b"]  # and what is below it, not beside it
    assert names("Campaigns/Summer") == ["a"]
    assert names("campaigns") == names("Camp") == []
    (changed,) = api("PATCH", f"{path}/{rows[2].public_id}", {"folder": " Trials / June "}).values()
    assert changed["folder"] == "Trials/June"
    api("PATCH", f"{path}/{rows[2].public_id}", {"folder": "a/b/c/d/e/f/g"}, status=422)
    (copy,) = api("POST", f"{path}/{rows[0].public_id}/duplicate", {}, status=201).values()
    assert copy["folder"] == "Campaigns/Summer"


def test_several_are_moved_at_once(cast, api, several):
    path, _, ids, rows = several
    body = {"action": "move", "folder": "Archive", ids: [row.public_id for row in rows[:2]]}
    assert all(outcome["done"] for outcome in api("POST", f"{path}/bulk", body)["outcomes"])
    assert api("POST", f"{path}/bulk", body | {"folder": "x" * 61}, status=422)["field"] == "folder"
    page, user = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{path}", cast.browser("user")
    answer = user.post(page, {"id": [rows[0].public_id], "do": "move", "folder": ""}, follow=True)
    assert "is moved" in words(answer)
    assert [Audience.everything.get(pk=row.pk).folder for row in rows[:3]] == ["", "Archive", ""]


def test_the_list_goes_into_folders(cast, several):
    path, _, _, _ = several
    page, reader = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/{path}", cast.browser("read_only")
    top = reader.get(page).content.decode()
    assert [*re.findall(r'\?folder=([^"&]*)"', top)] == ["Campaigns", "Campaigns+2"]
    inside = reader.get(f"{page}?folder=Campaigns")
    assert [row.name for row in inside.context["table"].rows] == ["b", "a"]
    assert [link.label for link in inside.context["folders"]] == ["Campaigns", "Summer"]
    assert "Campaigns/Summer /" in words(inside)
    assert reader.get(f"{page}?folder=Nowhere").status_code == 200


def test_a_draft_that_is_a_copy_keeps_the_folder(cast):
    by = cast.people["user"]
    original = services.create_audience(cast.space, name="Buyers", definition=ORDERED, folder="Campaigns", by=by)
    assert drafts.finish(drafts.begin_copy(original, by), by).folder == "Campaigns"
