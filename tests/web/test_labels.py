"""Labels of audiences and computed traits: set, shown, and filtered by, on pages and by the API."""

import csv
import re
from html import unescape
from urllib.parse import quote

import pytest
from django.db import connection

from access.models import AuditEntry
from audiences import drafts, services
from audiences.models import Audience, Draft
from audiences.rules import draft_form
from tests.factories import SpaceFactory

pytestmark = pytest.mark.django_db

ORDERED = {"kind": "event", "name": "Ordered"}
ORDERS = {"kind": "event_counter", "name": "Ordered"}
SLASH = "e-mail/weekly & daily?"


@pytest.fixture
def labelled(cast):
    """Three audiences and three computed traits, with one label, two, and none."""
    for create, definition, what in (
        (services.create_audience, ORDERED, "audience"),
        (services.create_trait, ORDERS, "trait"),
    ):
        for name, labels in (("one", ["vip"]), ("two", ["vip", SLASH]), ("bare", [])):
            create(cast.space, name=f"{what} {name}", definition=definition, labels=labels, by=cast.people["user"])


LISTS = [("audiences", "audiences", "audience"), ("computed-traits", "computedTraits", "trait")]


@pytest.mark.parametrize(("path", "key", "what"), LISTS)
def test_labels_are_set_shown_and_filtered_by_through_the_api(api, labelled, path, key, what):
    def names(query=""):
        return [row["name"] for row in api("GET", f"{path}{query}", who="read_only")[key]]

    assert len(names()) == 3
    assert names("?label=vip") == [f"{what} one", f"{what} two"]
    assert names(f"?label={quote(SLASH, safe='')}") == [f"{what} two"]
    assert names("?label=VIP") == names("?label=vi") == names(f"?label={'x' * 41}") == []
    row = api("GET", f"{path}?label=vip")[key][0]
    changed = api("PATCH", f"{path}/{row['id']}", {"labels": [" new ", "new", "a/b"]})
    (shown,) = changed.values()
    assert shown["labels"] == ["new", "a/b"]
    assert AuditEntry.objects.latest("pk").detail == {"labels": ["new", "a/b"]}
    api("PATCH", f"{path}/{row['id']}", {"name": "Renamed"})
    assert Audience.everything.get(public_id=row["id"]).labels == ["new", "a/b"]


@pytest.mark.parametrize("labels", [["a,b"], ["x" * 41], [str(n) for n in range(21)], "vip", [None], [{}], [["a"]]])
def test_what_is_no_label_is_refused(api, labels):
    body = {"name": "Buyers", "definition": ORDERED, "labels": labels}
    assert api("POST", "audiences", body, status=422)["field"].startswith("labels")
    assert not Audience.objects.exists()


@pytest.mark.parametrize(("path", "key", "what"), LISTS)
def test_the_list_shows_labels_and_is_filtered_by_one(cast, labelled, base, path, key, what):
    reader = cast.browser("read_only")

    def shown(query):
        page = reader.get(f"{base}/{path}{query}")
        return {name for name in ("one", "two", "bare") if f"{what} {name}<" in page.content.decode()}, page

    assert shown("")[0] == {"one", "two", "bare"}
    names, page = shown("?label=vip&sort=name")
    assert names == {"one", "two"}
    text = page.content.decode()
    assert 'name="label" value="vip"' in text  # the filter box keeps it
    link = unescape(re.search(r'href="([^"]*label=e-mail[^"]*)"', text)[1])
    assert "sort=name" in link
    assert shown(link.partition(path)[2])[0] == {"two"}
    assert "No " in shown("?label=nobody+has+it")[1].content.decode()
    assert shown("?label=vip&q=two")[0] == {"two"}


@pytest.mark.parametrize(("path", "key", "what"), LISTS)
def test_the_csv_has_what_has_the_label_with_its_labels(cast, labelled, base, path, key, what):
    answer = cast.browser("read_only").get(f"{base}/{path}", {"format": "csv", "label": SLASH})
    lines = list(csv.reader(b"".join(answer.streaming_content).decode().splitlines()))
    assert [(line[0], line[-2]) for line in lines] == [("name", "labels"), (f"{what} two", f"vip, {SLASH}")]


@pytest.mark.parametrize("what", ["audiences", "computed-traits"])
def test_labels_are_set_in_the_settings(cast, labelled, base, what):
    row = Audience.everything.get(name__endswith="one", kind=what.rstrip("s").rpartition("-")[2])
    where, user = f"{base}/{what}/{row.public_id}/settings", cast.browser("user")
    assert 'value="vip"' in user.get(where).content.decode()
    entries = {"name": row.name, "enabled": "on", "description": ""}
    assert user.post(where, entries | {"labels": "vip, a/b ,vip"}).status_code == 302
    row.refresh_from_db()
    assert row.labels == ["vip", "a/b"]
    refused = user.post(where, entries | {"labels": "x" * 41})
    assert refused.status_code == 422
    assert "at most 40 characters" in refused.content.decode()
    assert "vip, a/b" in cast.browser("read_only").get(where).content.decode()
    assert user.post(where, entries).status_code == 302
    row.refresh_from_db()
    assert row.labels == []


def test_a_draft_keeps_labels_until_the_audience_is_there(cast, base):
    draft = drafts.begin(cast.space, cast.people["user"])
    entries = {"name": "Buyers", "labels": "a, b", "include_historical": "on", "act": "check"}
    drafts.keep(draft, sketch=draft_form.of_definition(ORDERED))
    where, user = f"{base}/audiences/drafts/{draft.public_id}/review", cast.browser("user")
    user.post(where, entries)
    assert Draft.objects.get().labels == ["a", "b"]
    assert 'value="a, b"' in user.get(where).content.decode()
    assert user.post(where, entries | {"act": "create"}).status_code == 302
    assert Audience.objects.get().labels == ["a", "b"]


def test_the_release_before_can_go_on_adding_audiences(cast):
    """It knows no labels, so that the database has to."""
    with connection.cursor() as cursor:
        for table in ("audiences_audience", "audiences_draft"):
            columns = "SELECT column_default FROM information_schema.columns WHERE (table_name, column_name) = (%s, %s)"
            cursor.execute(columns, [table, "labels"])
            assert cursor.fetchone()[0].startswith("'{}'")


def test_labels_of_another_space_are_not_offered(cast, base):
    other = SpaceFactory(workspace=cast.workspace)
    services.create_audience(other, name="Theirs", definition=ORDERED, labels=["theirs"], by=cast.people["owner"])
    services.create_audience(cast.space, name="Ours", definition=ORDERED, labels=["ours"], by=cast.people["owner"])
    page = cast.browser("user").get(f"{base}/audiences")
    assert [link.label for link in page.context["labels"]] == ["ours"]
