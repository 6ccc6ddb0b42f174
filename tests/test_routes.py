"""Every route states what it needs; every need exists; and no page lets in anyone it should not."""

import pytest

from access import roles
from access.gate import NEEDS, need_of, view_class
from spaces.needs import ANYONE, SIGNED_IN
from tests.cast import PEOPLE, make_cast
from tests.routes import OF_CLIENTS, PROFILE_API, api_routes, pages, routes
from tests.sample_rows import belongings

# Whoever may open these, they are about nobody. A new one has to be added here on purpose.
OPEN = (
    OF_CLIENTS
    | PROFILE_API
    | {
        *("livez", "readyz", "sign-in", "sign-out", "theme", "accept-invitation", "api-schema", "api-docs", ""),
        *("welcome", "reset", "reset-sent", "new-password", "metrics"),
    }
)
ROLES = dict.fromkeys(PEOPLE, roles.MEMBER) | {"owner": roles.OWNER}
GRANTED = {who: roles.SPACE_ROLES[who].permissions for who in roles.SPACE_ROLES}


@pytest.mark.parametrize("route", routes(), ids=str)
def test_a_route_states_a_need_that_exists(route):
    for method in (*route.methods, "OPTIONS"):
        assert need_of(route.view, method) in NEEDS


def test_only_these_routes_are_open_to_anyone():
    assert {route.name for route in routes() if ANYONE in {need_of(route.view, m) for m in route.methods}} <= OPEN


@pytest.mark.parametrize("route", [route for route in routes() if route.name not in OPEN], ids=str)
def test_a_need_of_a_space_stands_on_a_route_that_names_one(route):
    needed = {need_of(route.view, method) for method in route.methods}
    if needed & set(roles.SPACE_PERMISSIONS):
        assert {"space", "space_id"} & set(route.kwargs)
    if not route.is_api and needed - {SIGNED_IN}:
        assert "workspace" in route.kwargs


@pytest.mark.parametrize("route", routes(), ids=str)
def test_a_method_that_changes_something_needs_more_than_looking(route):
    if ANYONE in {need_of(route.view, method) for method in route.methods} or route.name in OWN:
        return
    for method in set(route.methods) - {"GET"}:
        assert need_of(route.view, method) not in {"workspace.read", "space.read", "sources.read"}


LEADS_ON = {"home", "goto-access"}  # to one's own workspace
OWN = {
    "api-tokens",
    "api-token",
    "api-audience-preview",
    "api-computed-trait-preview",
    "api-sql-trait-preview",
    "api-split-preview",
    "api-audience-cases-run",
    "api-computed-trait-cases-run",
}  # one's own tokens; a preview changes nothing


def expected(need, who, in_space):
    """The status that somebody gets from a page with this need; None: whatever the page itself says."""
    if need == ANYONE:
        return None
    if who == "nobody":
        return 302
    if need == SIGNED_IN:
        return None
    if who == "stranger":
        return 404
    granted = {1: GRANTED.get(who, frozenset())}
    may = roles.allows(need, workspace_role=ROLES[who], granted=granted, space=1 if in_space else None)
    return None if may else 403


@pytest.mark.django_db
def test_each_page_opens_for_whom_it_should_and_for_nobody_else():
    """From the URLconf: a new page is tried without a word here. Those of a workspace are in web/test_matrix.py."""
    cast = make_cast()
    ids = belongings(cast.space) | {"secret": "no-such-secret", "route": "batch"}
    wrong = []
    for route in pages():
        need = need_of(route.view, "GET")
        if need == ANYONE or "workspace" in route.kwargs:
            continue
        for who in PEOPLE:
            status = cast.browser(who).get(route.url(ids)).status_code
            wanted = expected(need, who, "space" in route.kwargs)
            allowed = {wanted} if wanted else {200, 286, *({302} if route.name in LEADS_ON else ())}
            if status not in allowed:
                wrong.append((str(route), who, status, wanted))
    assert not wrong


@pytest.mark.django_db
def test_a_page_of_another_space_is_not_found_by_its_id():
    """Each page with an id below its space, tried with the id of something of the other workspace."""
    cast = make_cast()
    ours, theirs = belongings(cast.space), belongings(cast.other_space)
    tried = 0
    for route in pages():
        foreign = set(route.kwargs) - {"workspace", "space", "secret", "route", "uidb64", "token", "side"}
        for name in foreign:
            tried += 1
            url = route.url(ours | {name: theirs[name]})
            assert cast.browser("owner").get(url).status_code == 404, url
            assert cast.browser("owner").get(route.url(ours)).status_code == 200, url
    assert tried or not any("profile" in route.kwargs for route in pages())


def test_the_walk_over_the_routes_finds_them():
    found = {route.name for route in routes()}
    assert {"home", "sign-in", "workspace", "space-sources", "api-spaces", "api-space"} <= found
    assert all(view_class(route.view) for route in api_routes())
