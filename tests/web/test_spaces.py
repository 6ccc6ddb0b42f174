"""Workspaces and spaces by REST, and who may change them."""

import pytest

from access import roles, services
from access.models import AuditEntry, Membership
from access.services import NotPossible
from spaces import services as spaces
from spaces.models import Log, Space
from tests.factories import MembershipFactory, SpaceFactory, UserFactory, WorkspaceFactory

pytestmark = pytest.mark.django_db


def test_a_token_says_where_it_belongs_and_what_it_may(cast):
    body = cast.call("admin", "GET", "/api/workspace").json()["data"]
    assert body["workspace"] == {
        "id": cast.workspace.public_id,
        "slug": cast.workspace.slug,
        "name": cast.workspace.name,
    }
    assert body["you"]["role"] == "member"
    assert set(body["you"]["may"]) == {"workspace.read", "sources.read"}


def test_an_owner_makes_renames_and_deletes_a_space(cast):
    made = cast.call("owner", "POST", "/api/spaces", {"name": "Shop, Dev!", "kind": "dev"})
    assert made.status_code == 201
    space = made.json()["data"]["space"]
    assert (space["slug"], space["kind"]) == ("shop-dev", "dev")
    path = f"/api/spaces/{space['id']}"
    renamed = cast.call("owner", "PATCH", path, {"name": "Shop"}).json()["data"]["space"]
    assert (renamed["name"], renamed["slug"], renamed["kind"]) == ("Shop", "shop-dev", "dev")
    assert cast.call("owner", "DELETE", path).json() == {"data": {"status": "SUCCESS"}}
    assert cast.call("owner", "GET", path).status_code == 404
    trail = AuditEntry.objects.filter(workspace=cast.workspace, target=space["id"]).order_by("id")
    assert list(trail.values_list("action", flat=True)) == ["space.created", "space.changed", "space.deleted"]


@pytest.mark.parametrize("body", [{}, {"name": ""}, {"name": "x" * 101}, {"name": "x", "kind": "test"}, {"name": []}])
def test_a_space_that_makes_no_sense_is_refused(cast, body):
    assert cast.call("owner", "POST", "/api/spaces", body).status_code == 422


def test_each_sees_the_spaces_they_have_a_role_in(cast):
    SpaceFactory(workspace=cast.workspace)
    seen = {
        who: len(cast.call(who, "GET", "/api/spaces").json()["data"]["spaces"]) for who in ("owner", "user", "member")
    }
    assert seen == {"owner": 2, "user": 1, "member": 0}


@pytest.mark.parametrize(
    ("who", "method", "status"),
    [
        ("read_only", "GET", 200),
        ("member", "GET", 403),
        ("user", "PATCH", 403),
        ("admin", "PATCH", 200),
        ("admin", "DELETE", 403),
        ("stranger", "GET", 404),
        ("stranger", "DELETE", 404),
        ("nobody", "GET", 401),
    ],
)
def test_who_may_do_what_with_a_space(cast, who, method, status):
    answer = cast.call(
        who, method, f"/api/spaces/{cast.space.public_id}", {"name": "New"} if method == "PATCH" else None
    )
    assert answer.status_code == status, answer.content


def test_a_refusal_says_what_is_missing(cast):
    error = cast.call("user", "PATCH", f"/api/spaces/{cast.space.public_id}", {"name": "x"}).json()["errors"][0]
    assert error["type"] == "forbidden"
    assert "space.admin" in error["message"]
    assert cast.space.name in error["message"]


def test_two_spaces_of_one_name_have_two_slugs(cast):
    slugs = [spaces.create_space(cast.workspace, name="Shop").slug for _ in range(3)]
    assert slugs == ["shop", "shop-2", "shop-3"]


def test_a_name_in_another_script_or_without_a_letter_has_a_slug_all_the_same(cast):
    assert spaces.create_space(cast.workspace, name="日本").slug == "riben"
    assert spaces.create_space(cast.workspace, name="…").slug == "space"


def test_a_slug_is_never_a_word_of_our_addresses(cast):
    assert spaces.create_space(cast.workspace, name="Settings").slug == "settings-1"


def test_deleting_a_space_forgets_its_logs_and_role_groups(cast):
    Log.objects.create(workspace=cast.workspace, stage="resolve", partition=cast.space.pk)
    services.delete_space(cast.space, by=cast.people["owner"])
    assert not Log.objects.filter(stage="resolve", partition=cast.space.pk).exists()
    assert not cast.people["admin"].groups.exists()


# Grants


def test_a_member_holds_one_role_in_a_space_the_newest(cast):
    services.grant(cast.space, cast.people["admin"], "read_only", by=cast.people["owner"])
    membership = Membership.objects.get(workspace=cast.workspace, user=cast.people["admin"])
    assert services.grants_of(membership) == [(cast.space, "read_only")]
    assert not membership.may("space.use", cast.space)


def test_a_revoked_role_opens_nothing_any_more(cast):
    services.revoke(cast.space, cast.people["admin"], by=cast.people["owner"])
    assert cast.call("admin", "GET", f"/api/spaces/{cast.space.public_id}").status_code == 403


@pytest.mark.parametrize("who", ["admin", "user", "member", "stranger"])
def test_only_an_owner_gives_roles(cast, who):
    with pytest.raises(NotPossible, match="Only an owner"):
        services.grant(cast.space, cast.people["member"], "read_only", by=cast.people[who])


def test_a_role_is_not_given_to_somebody_outside_the_workspace(cast):
    with pytest.raises(NotPossible, match="not in this workspace"):
        services.grant(cast.space, cast.people["stranger"], "read_only", by=cast.people["owner"])


def test_an_unknown_role_is_not_given(cast):
    with pytest.raises(NotPossible, match="no role"):
        services.grant(cast.space, cast.people["member"], "emperor", by=cast.people["owner"])


def test_the_sync_brings_groups_in_step_with_the_roles(cast, monkeypatch):
    more = roles.Role("read_only", "Read-only", "", frozenset({"space.read", "space.use"}))
    monkeypatch.setitem(roles.SPACE_ROLES, "read_only", more)
    membership = Membership.objects.get(workspace=cast.workspace, user=cast.people["read_only"])
    assert not membership.may("space.use", cast.space)
    assert services.sync_roles() == 3
    assert Membership.objects.get(pk=membership.pk).may("space.use", cast.space)
    monkeypatch.undo()
    services.sync_roles()
    assert not Membership.objects.get(pk=membership.pk).may("space.use", cast.space)


def test_the_group_of_a_role_that_is_gone_allows_nothing_and_is_left_like_any_other(cast, monkeypatch):
    user, membership = cast.people["user"], Membership.objects.get(workspace=cast.workspace, user=cast.people["user"])
    monkeypatch.delitem(roles.SPACE_ROLES, "user")
    services.sync_roles()
    assert not Membership.objects.get(pk=membership.pk).may("space.read", cast.space)
    assert services.grants_of(membership) == []
    services.remove_member(membership, by=services.COMMAND)
    assert not user.groups.exists()


def test_the_groups_of_space_1_are_not_those_of_space_10(cast):
    ten = SpaceFactory(workspace=cast.workspace, pk=cast.space.pk * 10)
    services.grant(ten, cast.people["user"], "admin", by=services.COMMAND)
    services.revoke(cast.space, cast.people["user"], by=services.COMMAND)
    membership = Membership.objects.get(workspace=cast.workspace, user=cast.people["user"])
    assert services.grants_of(membership) == [(ten, "admin")]
    assert membership.granted == {ten.pk: roles.SPACE_ROLES["admin"].permissions}


def test_grants_cost_two_queries_and_the_gate_one(cast, django_assert_num_queries):
    membership = Membership.objects.get(workspace=cast.workspace, user=cast.people["user"])
    with django_assert_num_queries(2):
        services.grants_of(membership)
    with django_assert_num_queries(1):
        assert membership.may("space.use", cast.space)


def test_guardian_reads_the_same_grants(cast):
    assert cast.people["user"].has_perm("spaces.use_space", cast.space)
    assert not cast.people["read_only"].has_perm("spaces.use_space", cast.space)
    assert not cast.people["user"].has_perm("spaces.use_space", cast.other_space)


# The last owner


def test_the_last_owner_cannot_be_made_a_member_or_removed(cast):
    only = Membership.objects.get(workspace=cast.workspace, role=roles.OWNER)
    with pytest.raises(NotPossible, match="needs an owner"):
        services.change_role(only, roles.MEMBER, by=cast.people["owner"])
    with pytest.raises(NotPossible, match="needs an owner"):
        services.remove_member(only, by=cast.people["owner"])
    assert Membership.objects.get(pk=only.pk).role == roles.OWNER


def test_an_owner_can_go_when_there_is_another(cast):
    first = Membership.objects.get(workspace=cast.workspace, role=roles.OWNER)
    MembershipFactory(workspace=cast.workspace, user=UserFactory(), role=roles.OWNER)
    services.change_role(first, roles.MEMBER, by=cast.people["owner"])
    assert Membership.objects.get(pk=first.pk).role == roles.MEMBER


def test_somebody_removed_loses_roles_and_tokens_here_and_nowhere_else(cast):
    elsewhere = SpaceFactory(workspace=WorkspaceFactory())
    MembershipFactory(workspace=elsewhere.workspace, user=cast.people["user"])
    services.grant(elsewhere, cast.people["user"], "user", by=services.COMMAND)
    cast.bearer("user")
    services.remove_member(
        Membership.objects.get(workspace=cast.workspace, user=cast.people["user"]), by=services.COMMAND
    )
    assert cast.call("user", "GET", "/api/workspace").status_code == 401
    assert [group.name for group in cast.people["user"].groups.all()] == [f"space:{elsewhere.pk}:user"]


def test_the_list_of_people_costs_the_same_for_many(cast, django_assert_max_num_queries):
    for _ in range(12):
        services.grant(
            cast.space,
            MembershipFactory(workspace=cast.workspace).user,
            "user",
            by=services.COMMAND,
        )
    cast.bearer("owner")
    with django_assert_max_num_queries(10):
        users = cast.call("owner", "GET", "/api/users").json()["data"]["users"]
    assert len(users) == 17
    assert {"spaceId": cast.space.public_id, "role": "user", "personalData": False} in users[-1]["grants"]
    assert Space.objects.filter(workspace=cast.workspace).count() == 1
