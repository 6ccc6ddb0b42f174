"""The history of an audience, as a page, as files, and by the API."""

from datetime import timedelta
from hashlib import sha256
from io import BytesIO

import pytest
from pyarrow import parquet

from audiences.models import Audience
from tests.factories_audiences import World
from tests.factories_identity import message

pytestmark = pytest.mark.django_db
LATELY = {"kind": "event", "name": "Seen", "within": {"days": 3}}


@pytest.fixture
def world(cast):
    return World(cast.space)


@pytest.fixture
def audience(world, monkeypatch):
    for module in ("audiences.api.views", "audiences.pages.views.audiences"):
        monkeypatch.setattr(f"{module}.clock", world.clock)
    world.did("u1", "Seen")
    audience = world.audience("seen", LATELY)
    world.computed()
    Audience.objects.filter(pk=audience.pk).update(created_at=world.clock.now() - timedelta(days=1))
    world.clock.advance(timedelta(days=1))
    world.did("u2", "Seen")
    world.ticked()
    return audience


def test_the_api_answers_for_other_moments(cast, audience):
    base = f"/api/spaces/{cast.space.public_id}/audiences/{audience.public_id}"

    def get(path):
        return cast.call("user", "GET", f"{base}/{path}").json()

    assert len(get("members?at=2026-06-15T12:00:00Z")["data"]["members"]) == 1
    assert len(get("members")["data"]["members"]) == 2
    moved = get("movement?since=2026-06-15T12:00:00Z")["data"]["movement"]
    assert moved == {"before": 1, "after": 2, "entered": 1, "left": 0}
    days = get("forecast?days=4")["data"]["forecast"]
    assert [(day["size"], day["left"]) for day in days] == [(2, 0), (1, 1), (0, 2), (0, 2)]
    for path, field in (("members?at=yesterday", "at"), ("movement", "since"), ("forecast?days=99", "days")):
        assert get(path)["errors"][0]["field"] == field
    assert get("movement?since=2026-06-20T00:00:00Z&until=2026-06-19T00:00:00Z")["errors"][0]["field"] == "since"


def test_the_page_shows_it_and_gives_files_to_whom_it_may(cast, audience):
    base = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/{audience.public_id}/history"
    asked = "since=2026-06-15+12:00&until=2026-06-16+13:00"
    page = cast.browser("read_only").get(f"{base}?{asked}").content.decode()
    assert "If nothing else happens" in page
    assert "Who entered" not in page
    assert cast.browser("read_only").get(f"{base}/entered.csv?{asked}").status_code == 403
    answer = cast.browser("owner").get(f"{base}/entered.csv?{asked}")
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert [line.split(",")[1] for line in lines] == ["user_id", "u2"]
    assert cast.browser("owner").get(f"{base}/everybody.csv?{asked}").status_code == 404
    for wrong, words in (("since=x&until=y", "Enter a valid date"), ("since=2026-06-17&until=2026-06-16", "be later")):
        assert words in cast.browser("owner").get(f"{base}?{wrong}").content.decode()


def test_the_overlap_of_two_audiences(cast, world, audience):
    other = world.audience("ever", {"kind": "event", "name": "Seen", "atLeast": 1})
    world.did("u9", "Seen", ago=timedelta(days=5))
    world.computed()
    base = f"/api/spaces/{cast.space.public_id}/audiences/{audience.public_id}/overlap"
    shown = cast.call("user", "GET", f"{base}?with={other.public_id}").json()["data"]["overlap"]
    assert shown == {"onlyThis": 0, "both": 2, "onlyThat": 1}
    assert cast.call("user", "GET", f"{base}?with=aud_none").json()["errors"][0]["field"] == "with"
    page = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/{audience.public_id}?with={other.public_id}"
    text = cast.browser("read_only").get(page).content.decode()
    assert "Only in ever" in text


def test_members_are_downloaded_as_parquet_hashed_and_with_chosen_columns(cast, world, audience):
    base = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/{audience.public_id}/download"
    owner = cast.browser("owner")
    assert "Hash e-mail addresses" in owner.get(base).content.decode()
    assert cast.browser("user").get(base).status_code == 403
    assert owner.get(f"{base}?format=xls&columns=user_id").status_code == 422
    assert owner.get(f"{base}?format=csv").status_code == 422
    answer = owner.get(f"{base}?format=parquet&columns=user_id&columns=email")
    table = parquet.read_table(BytesIO(b"".join(answer.streaming_content)))
    assert table.column_names == ["user_id", "email"]
    assert sorted(table.column("user_id").to_pylist()) == ["u1", "u2"]
    world.sent(message("identify", userId="u1", traits={"email": "ada@x.org"}))
    answer = owner.get(f"{base}?format=csv&columns=email&hashed=on")
    lines = b"".join(answer.streaming_content).decode().split()
    assert sha256(b"ada@x.org").hexdigest() in lines
    assert "ada@x.org" not in lines
