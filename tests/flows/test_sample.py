"""Sample data: in by one click, through the real stages, whole whatever dies on the way; and out by one click."""

import pytest

from access.services import NotPossible
from audiences import backfill, evaluate
from audiences.models import Audience
from console import sample as data
from console.models import Sample
from destinations import sync
from destinations.models import Subscription
from identity import resolve_stage
from identity.models import Profile
from quickstart.shop import Size
from sources import archive
from sources.models import Connection, Inbox, Source, Tally
from spaces.batches import advance, open_log
from spaces.clock import clock
from spaces.models import Space
from tests.cast import make_cast

pytestmark = pytest.mark.django_db


@pytest.fixture
def cast(monkeypatch):
    monkeypatch.setattr(data, "SIZE", Size(customers=30, visitors=10, messages=600))
    monkeypatch.setattr(data, "PER_REQUEST", 100)
    return make_cast()


def worked(cast):
    """All stages of the workspace have done what they could."""
    for stage, owners in (
        (archive.STAGE, Source.objects.filter(workspace=cast.workspace)),
        (resolve_stage.STAGE, Space.objects.filter(workspace=cast.workspace)),
    ):
        for owner in owners:
            log = open_log(stage=stage.name, partition=owner.pk, workspace_id=cast.workspace.pk)
            while advance(stage, log):
                pass


def filled(cast, sample):
    for _ in range(6):
        data.advance_sample(sample.pk)
        worked(cast)
    sample.refresh_from_db()
    return sample


def archived(sample):
    return sum(Tally.objects.get(source=pk).archived for pk in sample.sources.values())


def test_it_comes_the_way_of_all_data_and_is_whole(cast):
    sample = filled(cast, data.add_sample(cast.workspace, by=cast.people["owner"]))
    assert sample.state == "ready"
    assert sample.sent == sample.total == archived(sample) >= 600
    assert {row.state for row in Connection.objects.filter(space=sample.space)} == {"live"}
    assert Profile.objects.filter(space=sample.space, merged_into=None).count() >= 30
    for version in backfill.computing(clock.now()):
        backfill.compute(version, clock)
    log = open_log(stage="evaluate", partition=sample.space_id, workspace_id=cast.workspace.pk)
    while advance(evaluate.STAGE, log):
        pass
    sizes = dict(Audience.objects.filter(space=sample.space).values_list("name", "size"))
    assert set(sizes) == set(data.AUDIENCES)
    assert sizes["Signed up in the last 7 days"] >= sizes["Signed up, no order in 7 days"] > 0
    assert sizes["Pro customers"] > 0
    for row in Subscription.objects.filter(space=sample.space):
        log = open_log(stage="sync", partition=row.pk, workspace_id=cast.workspace.pk)
        while advance(sync.STAGE, log):
            pass
    assert {row.status for row in Subscription.objects.filter(space=sample.space)} == {"in_step"}


def test_a_death_while_it_is_sent_neither_loses_nor_doubles_a_message(cast, monkeypatch):
    sample = data.add_sample(cast.workspace, by=cast.people["owner"])
    accepted, calls = data.accept, []

    def dying(*args, **kwargs):
        calls.append(args)
        if len(calls) in (4, 5, 9):
            raise ConnectionError("gone")
        accepted(*args, **kwargs)

    monkeypatch.setattr(data, "accept", dying)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            data.advance_sample(sample.pk)
    sample = filled(cast, sample)
    assert (sample.state, archived(sample)) == ("ready", sample.total)
    assert {Tally.objects.get(source=pk).doubled for pk in sample.sources.values()} == {0}


def test_there_is_one_at_a_time(cast):
    data.add_sample(cast.workspace, by=cast.people["owner"])
    with pytest.raises(NotPossible, match="already"):
        data.add_sample(cast.workspace, by=cast.people["owner"])
    assert Space.objects.filter(workspace=cast.workspace, name=data.SPACE).count() == 1


@pytest.mark.parametrize("steps", [0, 1, 6])
def test_it_is_taken_out_whole_at_any_time(cast, steps):
    before = set(Source.objects.values_list("pk", flat=True)), set(Space.objects.values_list("pk", flat=True))
    sample = data.add_sample(cast.workspace, by=cast.people["owner"])
    for _ in range(steps):
        data.advance_sample(sample.pk)
        worked(cast)
    data.remove_sample(Sample.objects.get(), by=cast.people["owner"])
    assert (set(Source.objects.values_list("pk", flat=True)), set(Space.objects.values_list("pk", flat=True))) == before
    assert not Sample.objects.exists()
    assert not Inbox.objects.exists()
    data.advance_sample(sample.pk)  # a wake-up that comes late finds nothing


def test_the_page_brings_it_in_shows_how_far_it_is_and_takes_it_out(cast):
    browser, path = cast.browser("owner"), f"/w/{cast.workspace.slug}/sample"
    assert "Add the sample data" in browser.get(path).content.decode()
    for _ in range(2):  # a double click
        assert browser.post(path, {"do": "add"}).status_code == 302
    shown = browser.get(path).content.decode()
    assert "Sending events" in shown
    assert "is in this workspace already" in shown
    filled(cast, Sample.objects.get())
    assert "All of it is there" in browser.get(path).content.decode()
    browser.post(path, {"do": "remove"})
    assert not Sample.objects.exists()
    assert cast.browser("admin").get(path).status_code == 403
    assert cast.browser("stranger").post(path, {"do": "add"}).status_code == 404
