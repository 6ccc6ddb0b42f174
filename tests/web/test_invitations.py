"""Invitations: several at once, one mail each, a link that works once and never opens another's account."""

import re
from datetime import timedelta

import pytest
from django.core import mail
from django.test import Client

from access import roles, services
from access.models import AuditEntry, Invitation, Membership, User
from access.services import Invited, NotPossible
from spaces.clock import clock
from tests.factories import UserFactory

pytestmark = pytest.mark.django_db
PASSWORD = "a quite unlikely phrase 42"


def link(number=-1):
    """The path in the mail that was sent."""
    return re.search(r"http://[^/]+(/invitations/\S+)", mail.outbox[number].body).group(1)


@pytest.fixture
def invited(cast):
    """new@example.com was asked to use the space; the path of the link."""
    body = {"invites": [{"email": "New@Example.com", "grants": [{"spaceId": cast.space.public_id, "role": "user"}]}]}
    answer = cast.call("owner", "POST", "/api/invites", body)
    assert answer.status_code == 201, answer.content
    return link()


def join(path, client=None, **changes):
    return (client or Client()).post(path, {"name": "New Person", "password": PASSWORD} | changes)


def test_several_people_are_invited_at_once_each_with_roles(cast):
    body = {
        "invites": [
            {"email": "a@example.com", "grants": [{"spaceId": cast.space.public_id, "role": "admin"}]},
            {"email": "b@example.com", "role": "owner"},
        ]
    }
    answer = cast.call("owner", "POST", "/api/invites", body)
    assert [row["email"] for row in answer.json()["data"]["invites"]] == ["a@example.com", "b@example.com"]
    assert [message.to for message in mail.outbox] == [["a@example.com"], ["b@example.com"]]
    listed = cast.call("owner", "GET", "/api/invites").json()["data"]["invites"]
    assert [row["role"] for row in listed] == ["member", "owner"]


def test_the_answer_and_the_database_hold_no_secret(cast, invited):
    secret = invited.rsplit("/", 1)[1]
    assert secret not in cast.call("owner", "GET", "/api/invites").content.decode()
    assert bytes(Invitation.objects.get().token_hash) != secret.encode()
    assert secret not in str(list(AuditEntry.objects.values()))


def test_all_are_invited_or_none(cast):
    body = {"invites": [{"email": "a@example.com"}, {"email": cast.people["user"].email}]}
    answer = cast.call("owner", "POST", "/api/invites", body)
    assert answer.status_code == 422
    assert "already" in answer.json()["errors"][0]["message"]
    assert not mail.outbox
    assert not Invitation.objects.exists()


@pytest.mark.parametrize(
    ("invites", "field"),
    [
        ([], "invites"),
        ([{"email": "no address"}], "invites[0].email"),
        ([{"email": "a@example.com", "role": "king"}], "invites[0].role"),
        (
            [{"email": "a@example.com", "grants": [{"spaceId": "spa_none", "role": "user"}]}],
            "invites[0].grants[0].spaceId",
        ),
        ([{"email": "a@example.com", "grants": [{"spaceId": "x"}]}], "invites[0].grants[0].role"),
    ],
)
def test_what_is_wrong_is_named_by_its_path(cast, invites, field):
    answer = cast.call("owner", "POST", "/api/invites", {"invites": invites})
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["field"] == field


def test_a_space_of_another_workspace_cannot_be_given_away(cast):
    grants = [{"spaceId": cast.other_space.public_id, "role": "admin"}]
    answer = cast.call("owner", "POST", "/api/invites", {"invites": [{"email": "a@example.com", "grants": grants}]})
    assert answer.status_code == 422
    person = Invited("a@example.com", roles.MEMBER, [(cast.other_space, "admin")])
    with pytest.raises(NotPossible, match="another workspace"):
        services.invite(cast.workspace, [person], by=cast.people["owner"], origin="http://x")


@pytest.mark.parametrize("who", ["admin", "member"])
def test_only_an_owner_invites(cast, who):
    body = {"invites": [{"email": "a@example.com", "role": "owner"}]}
    assert cast.call(who, "POST", "/api/invites", body).status_code == 403
    with pytest.raises(NotPossible, match="Only an owner"):
        services.invite(cast.workspace, [Invited("a@example.com")], by=cast.people[who], origin="http://x")


def test_a_new_person_sets_a_password_and_is_in(cast, invited):
    browser = Client()
    assert browser.get(invited).status_code == 200
    answer = join(invited, browser)
    assert answer.status_code == 302
    assert answer.headers["Location"] == f"/w/{cast.workspace.slug}/"
    assert cast.space.name in browser.get(answer.headers["Location"]).content.decode()
    user = User.objects.get(email="new@example.com")
    assert user.check_password(PASSWORD)
    assert services.grants_of(user.memberships.get()) == [(cast.space, "user")]


def test_the_link_works_once(cast, invited):
    assert join(invited).status_code == 302
    assert Client().get(invited).status_code == 410
    assert join(invited, password="another phrase entirely 7").status_code == 410
    assert User.objects.get(email="new@example.com").check_password(PASSWORD)


def test_the_link_stops_after_seven_days(cast, invited):
    Invitation.objects.update(expires_at=clock.now() - timedelta(seconds=1))
    assert Client().get(invited).status_code == 410
    assert join(invited).status_code == 410
    assert not User.objects.filter(email="new@example.com").exists()


def test_a_revoked_link_gives_nothing(cast, invited):
    path = f"/api/invites/{Invitation.objects.get().public_id}"
    assert cast.call("admin", "DELETE", path).status_code == 403
    assert cast.call("owner", "DELETE", path).status_code == 200
    assert join(invited).status_code == 410
    assert cast.call("owner", "DELETE", path).status_code == 409


def test_sending_again_makes_a_new_link_and_ends_the_old_one(cast, invited):
    Invitation.objects.update(expires_at=clock.now() - timedelta(days=1))
    services.resend(Invitation.objects.get(), by=cast.people["owner"], origin="http://testserver")
    assert link() != invited
    assert Client().get(invited).status_code == 410
    assert join(link()).status_code == 302


def test_inviting_again_ends_the_older_invitation(cast, invited):
    services.invite(cast.workspace, [Invited("new@example.com")], by=cast.people["owner"], origin="http://testserver")
    assert Client().get(invited).status_code == 410
    assert Invitation.objects.filter(revoked_at=None).count() == 1


def test_a_link_never_opens_an_account_that_is_there(cast, invited):
    there = UserFactory(email="new@example.com")
    there.set_password("the old one")
    there.save()
    browser = Client()
    page = browser.get(invited).content.decode()
    assert "password" not in page.lower().replace("sign-in", "")
    assert join(invited, browser).status_code == 422
    there.refresh_from_db()
    assert there.check_password("the old one")
    assert "_auth_user_id" not in browser.session
    assert not Membership.objects.filter(user=there, workspace=cast.workspace).exists()


def test_somebody_with_an_account_signs_in_and_joins(cast, invited):
    there = UserFactory(email="new@example.com")
    browser = Client()
    browser.force_login(there, backend="django.contrib.auth.backends.ModelBackend")
    assert browser.post(invited).status_code == 302
    assert services.grants_of(there.memberships.get(workspace=cast.workspace)) == [(cast.space, "user")]


def test_somebody_else_who_is_signed_in_cannot_use_the_link(cast, invited):
    answer = join(invited, cast.browser("stranger"))
    assert answer.status_code == 422
    assert not Membership.objects.filter(user=cast.people["stranger"], workspace=cast.workspace).exists()


def test_an_invitation_ends_with_the_rights_of_its_inviter(cast, invited):
    services.change_role(
        Membership.objects.create(workspace=cast.workspace, user=UserFactory(), role=roles.OWNER),
        roles.OWNER,
        by=services.COMMAND,
    )
    inviter = Membership.objects.get(workspace=cast.workspace, user=cast.people["owner"])
    services.change_role(inviter, roles.MEMBER, by=services.COMMAND)
    assert join(invited).status_code == 410


def test_a_role_is_not_lowered_by_accepting_an_older_invitation(cast):
    there = cast.people["stranger"]
    services.invite(cast.workspace, [Invited(there.email)], by=cast.people["owner"], origin="http://testserver")
    Membership.objects.create(workspace=cast.workspace, user=there, role=roles.OWNER)
    assert cast.browser("stranger").post(link()).status_code == 302
    assert there.memberships.get(workspace=cast.workspace).role == roles.OWNER


@pytest.mark.parametrize("password", ["short", "password123", "new@example.com"])
def test_a_weak_password_is_refused_with_the_reason_and_the_link_still_works(invited, password):
    assert join(invited, password=password).status_code == 422
    assert not User.objects.filter(email="new@example.com").exists()
    assert join(invited).status_code == 302


def test_a_workspace_name_cannot_forge_a_mail_header(cast):
    cast.workspace.name = "Shop\r\nBcc: all@example.com"
    cast.workspace.save()
    services.invite(cast.workspace, [Invited("a@example.com")], by=cast.people["owner"], origin="http://x")
    assert mail.outbox[0].subject == "Join Shop Bcc: all@example.com on Personas"


def test_who_does_not_manage_people_sees_by_the_api_what_the_page_shows(cast):
    """Themselves, and no invitations."""
    users = cast.call("admin", "GET", "/api/users").json()["data"]["users"]
    assert [user["email"] for user in users] == [cast.people["admin"].email]
    assert cast.call("admin", "GET", "/api/invites").status_code == 403
    cast.call("owner", "POST", "/api/invites", {"invites": [{"email": "new@example.com"}]})
    (invite,) = cast.call("owner", "GET", "/api/invites").json()["data"]["invites"]
    assert invite["invitedBy"] == cast.people["owner"].email
    everybody = cast.call("owner", "GET", "/api/users").json()["data"]["users"]
    assert len(everybody) == 5
    assert everybody[0]["joinedAt"]
