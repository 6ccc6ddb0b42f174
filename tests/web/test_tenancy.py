"""Two workspaces in one installation: nothing of one is there for the other. Generated from the URLconf.

A new route is tried without a word here. One with a new kind of id in its path, or in its body, fails until
`tests.belongings` can make such a thing.
"""

import pytest

from spaces.models import Space, Workspace
from tests.belongings import belongings, body_ids
from tests.cast import Cast
from tests.factories import SpaceFactory
from tests.routes import Route, api_routes, example

pytestmark = pytest.mark.django_db

WITH_IDS = [route for route in api_routes() if route.kwargs]
NOT_THERE = {404}
REFUSED = {404, 409, 422}  # what a body may be told that names a row of somebody else


def body_of(route: Route, method: str, ids: dict[str, str]) -> object:
    takes = route.takes(method)
    if takes is None:
        return None if method in ("GET", "DELETE") else {}
    return example(takes(), body_ids(ids))


def attempts(cast: Cast, who: str, ids: dict[str, str], own: dict[str, str]):
    """Every route with an id × every method, by `who`, with these ids in the path: (call, status)."""
    for route in WITH_IDS:
        url = route.url(ids)
        for method in route.methods:
            answer = cast.call(who, method, url, body_of(route, method, own))
            yield f"{method} {route.path}", answer.status_code


def test_no_route_knows_the_ids_of_another_workspace(cast):
    ours, theirs = belongings(cast.space), belongings(cast.other_space)
    before = _census()
    assert [(call, status) for call, status in attempts(cast, "owner", theirs, ours) if status != 404] == []
    assert [(call, status) for call, status in attempts(cast, "stranger", ours, theirs) if status != 404] == []
    assert _census() == before


def test_no_route_below_ones_own_space_knows_an_id_of_another_workspace(cast):
    """One foreign id at a time in a path that is otherwise one's own."""
    ours, theirs = belongings(cast.space), belongings(cast.other_space)
    found = []
    for route in WITH_IDS:
        for name in set(route.kwargs) - {"space_id"}:
            url = route.url(ours | {name: theirs[name]})
            for method in route.methods:
                status = cast.call("owner", method, url, body_of(route, method, ours)).status_code
                if status != 404:
                    found.append((method, route.path, name, status))
    assert found == []


def test_no_route_of_a_space_knows_an_id_of_its_sister(cast):
    """Dev and Prod of the same workspace are as far apart, for whatever belongs to a space."""
    ours, sister = belongings(cast.space), belongings(SpaceFactory(workspace=cast.workspace))
    found = []
    for route in (route for route in WITH_IDS if "space_id" in route.kwargs):
        for name in set(route.kwargs) - {"space_id"}:
            for method in route.methods:
                url = route.url(ours | {name: sister[name]})
                status = cast.call("owner", method, url, body_of(route, method, ours)).status_code
                if status != 404:
                    found.append((method, route.path, name, status))
    assert found == []


def test_no_body_can_name_a_row_of_another_workspace(cast):
    ours, theirs = belongings(cast.space), belongings(cast.other_space)
    found, tried = [], 0
    for route in api_routes():
        for method in route.methods:
            if not route.takes(method) or body_of(route, method, ours) == body_of(route, method, theirs):
                continue
            tried += 1
            status = cast.call("owner", method, route.url(ours), body_of(route, method, theirs)).status_code
            if status not in REFUSED:
                found.append((method, route.path, status))
    assert tried
    assert found == []


def test_the_lists_hold_nothing_of_another_workspace(cast):
    ours, theirs = belongings(cast.space), belongings(cast.other_space)
    foreign = {value for name, value in theirs.items() if name not in ("space", "profile")}
    for route in api_routes():
        if "GET" in route.methods:
            text = cast.call("owner", "GET", route.url(ours)).content.decode()
            assert not [value for value in foreign if value in text], route.path


def test_ones_own_ids_are_found(cast):
    """Without this, an address that answers 404 to everybody would pass for a safe one."""
    ours = belongings(cast.space)
    for route in WITH_IDS:
        if "GET" in route.methods:
            answer = cast.call("owner", "GET", route.url(ours))
            assert answer.status_code in (200, 422), (route.path, answer.content)


@pytest.mark.parametrize("token", ["", "pat_", "pat_no-such-token"])
def test_no_route_but_the_open_ones_answers_without_a_token(cast, token):
    from access.gate import need_of
    from spaces.needs import ANYONE

    ours = belongings(cast.space)
    cast.tokens["member"] = token
    for route in api_routes():
        for method in route.methods:
            if need_of(route.view, method) != ANYONE:
                assert cast.call("member", method, route.url(ours), {}).status_code == 401, route.path


def _census() -> tuple[int, int]:
    return Workspace.objects.count(), Space.objects.count()
