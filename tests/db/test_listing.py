"""Tables: filter, order, pages and CSV, all of them in the address."""

import pytest
from django.test import RequestFactory

from access.pages.tables import Column, arranged, csv_of, tabled
from spaces.models import Space
from tests.factories import SpaceFactory, WorkspaceFactory

pytestmark = pytest.mark.django_db
COLUMNS = (Column("name", "Name", "name"), Column("kind", "Kind", "kind"), Column("made", "Made"))


@pytest.fixture
def workspace():
    found = WorkspaceFactory()
    for at, name in enumerate(("Cedar", "ash", "Birch", "Alder")):
        SpaceFactory(workspace=found, name=name, kind=Space.Kind.PROD if at % 2 else Space.Kind.DEV)
    return found


def table(workspace, address, **more):
    request = RequestFactory().get(address)
    rows = Space.objects.filter(workspace=workspace)
    return tabled(request, rows, columns=COLUMNS, sort="name", search=["name"], **more)


def names(found):
    return [row.name for row in found.rows]


def test_rows_come_in_the_order_of_the_address(workspace):
    assert names(table(workspace, "/x")) == sorted(names(table(workspace, "/x")))
    assert names(table(workspace, "/x?sort=-name")) == names(table(workspace, "/x"))[::-1]
    kinds = [row.kind for row in table(workspace, "/x?sort=-kind").rows]
    assert kinds == sorted(kinds, reverse=True)


@pytest.mark.parametrize("sort", ["nonsense", "made", "--name", "id", "-"])
def test_an_order_that_does_not_exist_is_the_usual_one(workspace, sort):
    assert names(table(workspace, f"/x?sort={sort}")) == names(table(workspace, "/x"))


def test_headings_say_the_order_and_lead_to_the_other_one(workspace):
    by_name, by_kind, made = table(workspace, "/x?q=a&page=3").headings
    assert (by_name.sorted, by_kind.sorted, made.url) == ("ascending", "", "")
    assert by_name.url == "/x?q=a&sort=-name"
    assert by_kind.url == "/x?q=a&sort=kind"


def test_the_filter_looks_in_texts_whatever_their_case(workspace):
    assert set(names(table(workspace, "/x?q=a"))) == {"Cedar", "ash", "Alder"}
    assert names(table(workspace, "/x?q=%25")) == []


def test_pages_hold_everything_once(workspace):
    one, two = table(workspace, "/x", count=3), table(workspace, "/x?page=2", count=3)
    assert len(one.rows) == 3
    assert sorted(names(one) + names(two)) == sorted(names(table(workspace, "/x")))
    assert one.pager.next == "/x?page=2"
    assert two.pager.previous == "/x?page=1"
    assert (one.pager.previous, two.pager.next) == ("", "")
    assert two.pager.shown == "4–4 of 4"


@pytest.mark.parametrize("page", ["0", "-1", "99", "x", "1e9", ""])
def test_a_page_that_does_not_exist_is_the_nearest_one(workspace, page):
    assert table(workspace, f"/x?page={page}", count=3).rows


def test_a_csv_holds_all_rows_that_the_filter_leaves(workspace):
    assert table(workspace, "/x?q=a&page=2", count=2).csv == "/x?q=a&format=csv"
    request = RequestFactory().get("/x?q=a&format=csv")
    rows = arranged(request, Space.objects.filter(workspace=workspace), columns=COLUMNS, sort="name", search=["name"])
    answer = csv_of("spaces", ["Name"], ([row.name] for row in rows))
    assert answer.getvalue().decode().splitlines()[1:] == [row.name for row in rows]
    assert answer.headers["Content-Disposition"] == 'attachment; filename="spaces.csv"'


@pytest.mark.parametrize("text", ["=1+1", "+1", "-1", "@SUM(A1)", "\tx"])
def test_no_text_of_a_csv_is_run_by_a_spreadsheet(text):
    body = csv_of("x", ["a"], [[text, 1, -1]]).getvalue().decode().splitlines()[1]
    assert body.startswith(("'", "\"'"))
    assert body.endswith(",1,-1")
