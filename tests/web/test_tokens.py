"""API tokens, and the command that makes the first owner."""

import io
import json
from datetime import timedelta

import pytest
from django.core.management import CommandError, call_command
from django.test import Client

from access import roles
from access.authentication import hashed
from access.models import AuditEntry, Membership, Token, User
from spaces.clock import clock
from spaces.models import Workspace
from tests.factories import MembershipFactory, WorkspaceFactory

pytestmark = pytest.mark.django_db


def test_a_token_is_shown_once_and_kept_as_a_hash(cast):
    made = cast.call("member", "POST", "/api/tokens", {"name": "laptop"}).json()["data"]["token"]
    secret = made["secret"]
    assert secret.startswith("pat_")
    assert len(secret) == 47
    kept = Token.objects.get(public_id=made["id"])
    assert bytes(kept.hash) == hashed(secret)
    assert secret not in str(Token.objects.values()) + str(list(AuditEntry.objects.values()))
    assert secret not in cast.call("member", "GET", "/api/tokens").content.decode()
    assert Client().get("/api/workspace", headers={"authorization": f"bearer {secret}"}).status_code == 200


def test_a_revoked_token_opens_nothing(cast):
    cast.bearer("member")
    token = Token.objects.get(user=cast.people["member"])
    assert cast.call("member", "DELETE", f"/api/tokens/{token.public_id}").status_code == 200
    assert cast.call("member", "GET", "/api/workspace").status_code == 401


def test_a_member_sees_and_revokes_their_own_tokens_and_an_owner_all(cast):
    for who in ("owner", "user", "member"):
        cast.bearer(who)
    users = Token.objects.get(user=cast.people["user"])
    assert len(cast.call("member", "GET", "/api/tokens").json()["data"]["tokens"]) == 1
    assert cast.call("member", "DELETE", f"/api/tokens/{users.public_id}").status_code == 404
    assert len(cast.call("owner", "GET", "/api/tokens").json()["data"]["tokens"]) == 3
    assert cast.call("owner", "DELETE", f"/api/tokens/{users.public_id}").status_code == 200


def test_a_token_opens_its_own_workspace_and_no_other_of_the_same_user(cast):
    MembershipFactory(workspace=cast.other_workspace, user=cast.people["owner"], role=roles.OWNER)
    assert cast.call("owner", "GET", "/api/workspace").json()["data"]["workspace"]["id"] == cast.workspace.public_id
    assert cast.call("owner", "GET", f"/api/spaces/{cast.other_space.public_id}").status_code == 404


def test_the_token_of_somebody_switched_off_opens_nothing(cast):
    cast.bearer("member")
    User.objects.filter(pk=cast.people["member"].pk).update(is_active=False)
    assert cast.call("member", "GET", "/api/workspace").status_code == 401


def test_the_last_use_is_written_at_most_once_a_minute(cast, django_assert_num_queries):
    cast.call("owner", "GET", "/api/workspace")
    token = Token.objects.get(user=cast.people["owner"])
    first = token.last_used_at
    assert first is not None
    cast.call("owner", "GET", "/api/workspace")
    token.refresh_from_db()
    assert token.last_used_at == first
    Token.objects.update(last_used_at=clock.now() - timedelta(seconds=61))
    cast.call("owner", "GET", "/api/workspace")
    token.refresh_from_db()
    assert token.last_used_at > first


def test_a_session_of_the_console_is_no_key_to_the_api(cast):
    assert cast.browser("owner").get("/api/workspace").status_code == 401


def test_a_token_is_no_key_to_the_console(cast):
    answer = Client().get(f"/w/{cast.workspace.slug}/", headers=cast.bearer("owner"))
    assert answer.status_code == 302


def test_what_a_token_does_is_on_record_with_the_token(cast):
    cast.call("owner", "POST", "/api/spaces", {"name": "Shop"})
    entry = AuditEntry.objects.get(workspace=cast.workspace, action="space.created")
    assert (entry.actor, entry.token) == (cast.people["owner"], Token.objects.get(user=cast.people["owner"]))


def owner(*more):
    out = io.StringIO()
    call_command("create_owner", "Ada@Example.com", "Shop", "--json", *more, stdout=out)
    return json.loads(out.getvalue())


def test_the_first_owner_is_made_with_a_password_and_a_token():
    made = owner()
    user = User.objects.get(email="ada@example.com")
    assert user.check_password(made["password"])
    assert Membership.objects.get(user=user).role == roles.OWNER
    answer = Client().get("/api/workspace", headers={"authorization": f"Bearer {made['api_token']}"})
    assert answer.json()["data"]["workspace"]["id"] == made["workspace"]
    assert Client().login(username="ada@example.com", password=made["password"])


def test_running_it_again_changes_no_password_and_replaces_its_token():
    first, again = owner(), owner()
    assert again["password"] is None
    assert again["workspace"] == first["workspace"]
    assert User.objects.get(email="ada@example.com").check_password(first["password"])
    assert Workspace.objects.count() == 1
    live = Token.objects.filter(revoked_at=None)
    assert [bytes(token.hash) for token in live] == [hashed(again["api_token"])]


def test_a_password_can_be_given():
    assert owner("--password", "a given phrase 1")["password"] == "a given phrase 1"
    owner("--password", "a newer phrase 2")
    assert User.objects.get(email="ada@example.com").check_password("a newer phrase 2")


def test_a_workspace_that_cannot_be_told_apart_is_an_error():
    WorkspaceFactory(name="Shop")
    WorkspaceFactory(name="Shop")
    with pytest.raises(CommandError, match="more than one"):
        owner()
