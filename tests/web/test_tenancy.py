"""Two workspaces in one installation: nothing of one is there for the other. Generated from the URLconf.

A new route is tried without a word here. One with a new kind of id in its path, or in its body, fails until
`tests.sample_rows` can make such a thing; one with a body of free form, until it is looked at and listed in FREE.
"""

import inspect
import re

import pytest
from rest_framework import serializers

from access.gate import need_of, view_class
from personas_site.errors import unknown_api
from spaces.models import Space, Workspace
from spaces.needs import ANYONE
from tests.cast import Cast
from tests.factories import SpaceFactory
from tests.factories_identity import IdentifierFactory, ProfileFactory
from tests.routes import Route, api_routes, example, routes
from tests.sample_rows import belongings, body_ids

pytestmark = pytest.mark.django_db

WITH_IDS = [route for route in api_routes() if route.kwargs]
REFUSED = {404, 409, 422}  # what a body may be told that names a row of somebody else


def body_of(route: Route, method: str, ids: dict[str, str]) -> object:
    takes = route.takes(method)
    if takes is None:
        return None if method in ("GET", "DELETE") else {}
    return example(takes(), body_ids(ids))


# Fields of no fixed form, and what they can name. Nothing here takes an id.
FREE = {
    "definition": "audiences, by a key of the same space",
    "sending": "traits and types of identifiers by name, computed traits by a key of the same space",
    "settings": "nothing: settings of a destination or a channel, each declared by its kind",
    "options": "nothing: options of a subscription or an alert, each declared by its kind",
    "expected": "nothing: the value of a computed trait",
    "properties": "nothing: of an event that a test case makes up",
    "traits": "nothing: of a person whom a test case makes up",
    "identityRules": "nothing: types and values of identifiers",
}


def free_fields(serializer: serializers.BaseSerializer):
    """The names of the fields, at any depth, into which any JSON may be put."""
    if isinstance(serializer, serializers.ListSerializer):
        serializer = serializer.child
    for name, field in getattr(serializer, "fields", {}).items():
        if isinstance(field, serializers.JSONField | serializers.DictField):
            yield name
        elif isinstance(field, serializers.BaseSerializer):
            yield from free_fields(field)


def made_up(ids: dict[str, str]) -> dict[str, str]:
    """Ids of the same look that nothing has."""
    return {name: re.sub(r"_.+", "_0nothing0", value) if "_" in value else "nothing" for name, value in ids.items()}


def belonging_to(theirs: dict[str, str], *, but: dict[str, str]) -> set[str]:
    """What belongs to them alone. What is the same for everybody ("MQ") may well be a part of somebody's id."""
    named = {value for name, value in theirs.items() if name != "space"}  # a slug that other spaces have, too
    return named - set(but.values())


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


def test_somebody_elses_id_is_answered_like_one_that_nothing_has(cast):
    """The same status and the same words: an answer does not even tell that there is such a thing."""
    ours, theirs = belongings(cast.space), belongings(cast.other_space)
    for route in WITH_IDS:
        for name in route.kwargs:
            real, fake = route.url(ours | {name: theirs[name]}), route.url(ours | {name: made_up(theirs)[name]})
            for method in route.methods:
                answers = [cast.call("owner", method, url, body_of(route, method, ours)) for url in (real, fake)]
                assert answers[0].content == answers[1].content, (method, route.path, name)
    for route in api_routes():
        for method in filter(route.takes, route.methods):
            bodies = [body_of(route, method, ids) for ids in (ours, theirs, made_up(theirs))]
            if bodies[0] != bodies[1]:
                answers = [cast.call("owner", method, route.url(ours), body) for body in bodies[1:]]
                assert answers[0].content == answers[1].content, (method, route.path)


def test_a_body_of_free_form_was_looked_at():
    found = {name for route in api_routes() for m in route.methods if route.takes(m) for name in free(route, m)}
    assert found <= set(FREE), "can it name a row of another workspace?"


def free(route: Route, method: str) -> list[str]:
    takes = route.takes(method)
    return list(free_fields(takes())) if takes else []


def test_a_key_of_another_space_means_nothing_in_a_definition(cast):
    theirs = {"kind": "event", "name": "Paid", "atLeast": 1, "within": {"days": 1}}
    elsewhere = f"/api/spaces/{cast.other_space.public_id}/audiences"
    made = cast.call("stranger", "POST", elsewhere, {"name": "Secret", "key": "secret", "definition": theirs})
    assert made.status_code == 201
    definition = {"kind": "audience", "key": "secret"}
    for path, named in (("audiences", {"name": "Mine"}), ("audiences/previews", {})):
        body = {"definition": definition} | named
        answer = cast.call("owner", "POST", f"/api/spaces/{cast.space.public_id}/{path}", body)
        assert answer.status_code == 422, path


def test_nobody_is_found_by_an_identifier_of_another_workspace(cast):
    theirs = ProfileFactory(space=cast.other_space, traits={"name": "Ada"})
    IdentifierFactory(space=cast.other_space, profile=theirs.number, type="email", value="ada@example.com")
    ids = belongings(cast.space) | {"profile_id": "email:ada@example.com"}
    for route in (route for route in WITH_IDS if "profile_id" in route.kwargs):
        assert cast.call("owner", "GET", route.url(ids)).status_code == 404, route.path


def text_of(view):
    try:
        return inspect.getsource(view)
    except OSError:  # of audiences, at the address of computed traits: a class without a text of its own
        return inspect.getsource(view.__base__)


def test_a_view_that_reads_the_query_says_what_may_be_asked():
    """Else the next test would not ask it."""
    for route in (route for route in api_routes() if route.name not in ("api-schema", "api-docs")):
        if "query_params" in text_of(view_class(route.view)):
            assert route.asks(), route.path


def test_no_question_to_a_list_brings_anything_of_another_workspace(cast):
    """Every question a list knows, asked with every id of somebody else."""
    ours, theirs = belongings(cast.space), belongings(cast.other_space)
    foreign = belonging_to(theirs, but=ours)
    for route in (route for route in api_routes() if "GET" in route.methods):
        for name in route.asks():
            for value in foreign:
                answer = cast.call("owner", "GET", f"{route.url(ours)}?{name}={value}")
                assert answer.status_code in (200, 404, 422), (route.path, name)
                said = answer.content.decode()
                assert not [other for other in foreign - {value} if other in said], (route.path, name)


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
    foreign = belonging_to(theirs, but=ours)
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
            assert answer.status_code in (200, 409, 422), (route.path, answer.content)


@pytest.mark.parametrize("token", ["", "pat_", "pat_no-such-token"])
def test_no_route_but_the_open_ones_answers_without_a_token(cast, token):
    ours = belongings(cast.space)
    cast.tokens["member"] = token
    for route in api_routes():
        for method in route.methods:
            if need_of(route.view, method) != ANYONE:
                assert cast.call("member", method, route.url(ours), {}).status_code == 401, route.path


def test_no_address_of_the_api_escapes_these_tests():
    """Whatever is below /api/ is a view of DRF, and so among `api_routes`, but for the one that knows nothing."""
    others = [route for route in routes() if route.is_api and not view_class(route.view)]
    assert [route.view for route in others] == [unknown_api]


def _census() -> tuple[int, int]:
    return Workspace.objects.count(), Space.objects.count()
