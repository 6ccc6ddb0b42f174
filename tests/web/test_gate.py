"""The gate: marks are enforced, views without one are refused."""

from urllib.parse import quote_plus

import pytest
from django.http import HttpResponse
from django.test import RequestFactory
from rest_framework.response import Response
from rest_framework.views import APIView

from access.gate import GateMiddleware, Needed, Unmarked, need_of
from spaces.needs import ANYONE, needs

pytestmark = pytest.mark.django_db


def unmarked(request, **kwargs):
    return HttpResponse("secret")


@needs("space.fly")
def marked_with_nonsense(request):
    return HttpResponse("secret")


class OpenToAll(APIView):
    needs = "workspace.read"
    permission_classes = []

    def get(self, request):
        return Response("secret")


class Unstated(APIView):
    def get(self, request):
        return Response("secret")


@needs("workspace.read", POST="workspace.manage")
def by_method(request):
    return HttpResponse()


BAD = [unmarked, marked_with_nonsense, OpenToAll.as_view(), Unstated.as_view()]


@pytest.mark.parametrize("view", BAD)
def test_a_view_without_a_meaningful_mark_breaks_in_tests(view):
    with pytest.raises(Unmarked):
        GateMiddleware(lambda request: HttpResponse()).process_view(RequestFactory().get("/x"), view, (), {})


@pytest.mark.parametrize("view", BAD)
@pytest.mark.parametrize("path", ["/x", "/api/x"])
def test_a_view_without_a_meaningful_mark_is_refused_in_production(view, path, settings):
    settings.GATE_RAISES = False
    answer = GateMiddleware(lambda request: HttpResponse()).process_view(RequestFactory().get(path), view, (), {})
    assert answer.status_code == 403
    assert b"This view states no permission" in answer.content


def test_an_api_view_refuses_by_itself_when_the_middleware_is_gone(settings):
    with pytest.raises(Unmarked):
        Needed().has_permission(Unstated().initialize_request(RequestFactory().get("/")), Unstated())


def test_a_mark_can_differ_by_method_and_head_counts_as_get():
    assert need_of(by_method, "GET") == "workspace.read"
    assert need_of(by_method, "HEAD") == "workspace.read"
    assert need_of(by_method, "POST") == "workspace.manage"


def test_head_asks_for_what_get_needs_even_where_the_rest_is_open():
    @needs(ANYONE, GET="workspace.manage")
    def view(request):
        return HttpResponse()

    assert need_of(view, "HEAD") == "workspace.manage"


def test_an_unknown_method_needs_what_the_view_states_first():
    assert need_of(by_method, "BREW") == "workspace.read"


def test_a_stranger_sees_404_and_a_member_without_the_role_403(cast):
    path = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/sources"
    assert cast.browser("stranger").get(path).status_code == 404
    refused = cast.browser("member").get(path)
    assert refused.status_code == 403
    assert "space.read" in refused.content.decode()
    assert cast.browser("read_only").get(path).status_code == 200


def test_a_space_of_another_workspace_is_not_found_through_ones_own(cast):
    path = f"/w/{cast.workspace.slug}/s/{cast.other_space.slug}/sources"
    assert cast.browser("owner").get(path).status_code == 404


def test_nobody_is_sent_to_sign_in_and_back(cast):
    path = f"/w/{cast.workspace.slug}/"
    answer = cast.browser("nobody").get(path)
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"/sign-in?next=%2Fw%2F{cast.workspace.slug}%2F"


def test_htmx_is_told_to_move_the_whole_page(cast):
    answer = cast.browser("nobody").get(f"/w/{cast.workspace.slug}/", headers={"HX-Request": "true"})
    assert answer.status_code == 401
    assert answer.headers["HX-Redirect"] == "/sign-in"


def test_whoever_had_no_session_any_more_is_back_on_the_page_they_were_on(cast):
    path = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/audiences/new"
    here, back = f"{path}?q=1", f"/sign-in?next={quote_plus(f'{path}?q=1')}"
    nobody = cast.browser("nobody")
    part = {"HX-Request": "true", "HX-Current-URL": f"http://testserver{here}"}
    assert nobody.post(path, headers=part).headers["HX-Redirect"] == back
    assert nobody.post(path, headers={"Referer": f"http://testserver{here}"}).headers["Location"] == back
    for elsewhere in ("https://evil.example/w/", "//evil.example", ""):
        assert nobody.post(path, headers={"Referer": elsewhere}).headers["Location"] == "/sign-in"
        headers = {"HX-Request": "true", "HX-Current-URL": elsewhere}
        assert nobody.post(path, headers=headers).headers["HX-Redirect"] == "/sign-in"


def test_someone_who_was_removed_is_a_stranger(cast):
    membership = cast.people["read_only"].memberships.get(workspace=cast.workspace)
    membership.delete()
    path = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/sources"
    assert cast.browser("read_only").get(path).status_code == 404


def test_the_look_up_of_rights_costs_two_queries_however_often_it_is_asked(cast, django_assert_num_queries):
    membership = cast.people["admin"].memberships.get(workspace=cast.workspace)
    with django_assert_num_queries(1):  # the membership itself was the other one
        assert all(membership.may(p, cast.space) for p in ("space.read", "space.use", "space.admin"))
        assert membership.may("sources.read")
