"""Access Management: who sees what, invitations, roles, removal, and tokens."""

import re

import pytest
from django.core import mail
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access import queries, roles, services
from access.models import AuditEntry, Invitation, Membership, Token
from tests.factories import MembershipFactory, SpaceFactory

pytestmark = pytest.mark.django_db


def at(cast, rest="access-management", workspace=None):
    return f"/w/{(workspace or cast.workspace).slug}/settings/{rest}"


def person_at(cast, who):
    return at(cast, f"access-management/people/{cast.people[who].public_id}")


def page(cast, who="owner", where=None, **query):
    answer = cast.browser(who).get(where or at(cast), query)
    assert answer.status_code == 200
    return answer.content.decode()


def words(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html.partition("<main")[2]).split())


def entries(cast, who):
    """What the form about this person holds before anything is changed."""
    member = Membership.objects.get(workspace=cast.workspace, user=cast.people[who])
    held = dict(services.grants_of(member))
    return {"role": member.role} | {f"in-{space.public_id}": role for space, role in held.items()}


def test_the_address_in_the_quickstart_leads_to_ones_own_workspace(cast):
    there = "/goto-my-workspace/settings/access-management"
    assert cast.browser("member").get(there).headers["Location"] == at(cast)
    assert cast.browser("stranger").get(there).headers["Location"] == at(cast, workspace=cast.other_workspace)
    assert cast.browser("nobody").get(there).headers["Location"].startswith("/sign-in?next=")
    Membership.objects.filter(user=cast.people["member"]).delete()
    assert cast.browser("member").get(there).headers["Location"] == "/"


@pytest.mark.parametrize(
    ("who", "rights"),
    [
        ("owner", ["from Workspace Owner"] * 4),
        ("admin", ["from Personas Admin"] * 4),
        ("user", ["from Personas User", "from Personas User", "No", "No"]),
        ("read_only", ["from Personas Read-only", "No", "No", "No"]),
    ],
)
def test_everyone_sees_their_own_rights_and_which_role_gives_them(cast, who, rights):
    row = re.search(rf"<tr>\s*<th[^>]*>\s*<a[^>]*>{cast.space.name}</a>.*?</tr>", page(cast, who), re.S).group()
    cells = [" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in re.findall(r"<td>.*?</td>", row, re.S)]
    assert [cell.removeprefix("Yes ") for cell in cells] == rights


def test_a_right_of_the_workspace_that_a_role_in_a_space_brings_along_says_so(cast):
    assert f"from Personas Admin in {cast.space.name}" in words(page(cast, "admin"))
    assert f"in {cast.space.name}" not in words(page(cast, "user"))


def test_a_member_without_a_role_is_told_who_can_give_one(cast):
    assert "An owner of the workspace can give you one" in page(cast, "member")


@pytest.mark.parametrize("who", ["admin", "user", "read_only", "member"])
def test_whoever_does_not_manage_sees_nobody_else_and_can_change_nothing(cast, who):
    shown = page(cast, who)
    assert cast.people["owner"].email not in shown
    assert "Invite people" not in shown
    assert "<td" not in page(cast, who, format="csv").partition("<main")[0]
    assert cast.people["owner"].email not in page(cast, who, format="csv")
    for where in (at(cast), at(cast, "access-management/invite"), person_at(cast, "user")):
        assert cast.browser(who).post(where, {"role": "owner"}).status_code == 403


def test_an_owner_sees_people_with_their_roles_and_where_these_come_from(cast):
    shown = words(page(cast, q="admin-"))
    assert f"Personas Admin in {cast.space.name}" in shown
    assert "1–1 of 1" in shown
    assert "Everything, in every space from the workspace role" in words(page(cast, q="owner-"))
    assert "Nobody matches" in page(cast, q="no such person")


def test_people_are_sorted_by_what_the_address_says(cast):
    shown = page(cast, sort="-email")
    found = re.findall(r'<td class="value">(\w+)-', shown)
    assert found == sorted(found, reverse=True)


def test_the_download_has_a_column_for_each_space(cast):
    other = SpaceFactory(workspace=cast.workspace, name="Other")
    services.grant(other, cast.people["user"], "read_only", by=services.COMMAND)
    answer = cast.browser("owner").get(at(cast), {"format": "csv", "sort": "email"})
    lines = b"".join(answer.streaming_content).decode().splitlines()
    assert lines[0] == f"Name,E-mail,Workspace role,Other,{cast.space.name}"
    user = next(line for line in lines if cast.people["user"].email in line)
    assert user.endswith("Workspace Member,Personas Read-only,Personas User")
    owner = next(line for line in lines if cast.people["owner"].email in line)
    assert owner.endswith("Workspace Owner,Workspace Owner,Workspace Owner")


def test_several_people_are_invited_at_once_with_roles(cast):
    body = {"emails": "One@x.org, two@x.org\nthree@x.org", "role": "member", f"in-{cast.space.public_id}": "user"}
    answer = cast.browser("owner").post(at(cast, "access-management/invite"), body, follow=True)
    assert "3 people were invited" in answer.content.decode()
    assert {sent.to[0] for sent in mail.outbox} == {"one@x.org", "two@x.org", "three@x.org"}
    shown = words(answer.content.decode())
    assert f"Pending Workspace Member Personas User in {cast.space.name}" in shown
    secret = re.search(r"/invitations/(\S+)", mail.outbox[0].body).group(1)
    joined = services.accept(secret, name="One", password="correct horse battery staple")
    assert services.grants_of(Membership.objects.get(user=joined)) == [(cast.space, "user")]


@pytest.mark.parametrize(
    ("emails", "said"),
    [
        ("ok@x.org, nonsense, also@", "Not an e-mail address: nonsense, also@."),
        ("", "This field is required."),
        (" ".join(f"p{n}@x.org" for n in range(51)), "These are 51 addresses; 50 can be invited at once."),
    ],
)
def test_wrong_addresses_are_named_and_nobody_is_invited(cast, emails, said):
    body = {"emails": emails, "role": "owner", f"in-{cast.space.public_id}": "read_only"}
    answer = cast.browser("owner").post(at(cast, "access-management/invite"), body)
    assert answer.status_code == 422
    shown = answer.content.decode()
    assert said in shown
    assert re.search(r'value="owner"[^>]*checked', shown), "entries are kept"
    assert re.search(r'value="read_only"[^>]*checked', shown)
    assert not Invitation.objects.exists()


def test_whoever_is_there_already_is_named_and_nobody_else_is_invited_either(cast):
    body = {"emails": f"new@x.org {cast.people['user'].email}", "role": "member"}
    answer = cast.browser("owner").post(at(cast, "access-management/invite"), body)
    assert answer.status_code == 422
    assert f"{cast.people['user'].email} is in this workspace already." in answer.content.decode()
    assert not Invitation.objects.exists()


def test_an_invitation_is_sent_again_and_revoked(cast):
    made = invited(cast, cast.workspace)
    before = bytes(made.token_hash)
    answer = cast.browser("owner").post(at(cast), {"invitation": made.public_id, "do": "resend"}, follow=True)
    assert "A new link is on its way to asked@x.org" in answer.content.decode()
    made.refresh_from_db()
    assert bytes(made.token_hash) != before
    answer = cast.browser("owner").post(at(cast), {"invitation": made.public_id, "do": "revoke"}, follow=True)
    assert "was revoked" in answer.content.decode()
    assert "There are no pending invitations" in answer.content.decode()
    answer = cast.browser("owner").post(at(cast), {"invitation": made.public_id, "do": "resend"}, follow=True)
    assert "accepted or revoked already" in answer.content.decode()


def test_an_invitation_of_another_workspace_is_not_there(cast):
    made = invited(cast, cast.other_workspace)
    assert cast.browser("owner").post(at(cast), {"invitation": made.public_id, "do": "revoke"}).status_code == 404
    made.refresh_from_db()
    assert made.revoked_at is None


def invited(cast, workspace):
    return services.invite(workspace, [services.Invited("asked@x.org")], by=services.COMMAND, origin="http://x")[0]


def test_roles_are_given_changed_and_taken(cast):
    other = SpaceFactory(workspace=cast.workspace)
    body = {"role": "member", f"in-{cast.space.public_id}": "read_only", f"in-{other.public_id}": "admin"}
    answer = cast.browser("owner").post(person_at(cast, "user"), body, follow=True)
    assert "are saved" in answer.content.decode()
    member = Membership.objects.get(workspace=cast.workspace, user=cast.people["user"])
    assert dict(services.grants_of(member)) == {cast.space: "read_only", other: "admin"}
    cast.browser("owner").post(person_at(cast, "user"), {"role": "owner"})
    member.refresh_from_db()
    assert (member.role, services.grants_of(member)) == ("owner", [])
    actions = AuditEntry.objects.filter(workspace=cast.workspace, actor=cast.people["owner"]).values_list(
        "action", flat=True
    )
    assert {"grant.given", "grant.revoked", "member.role"} <= set(actions)


def test_what_stays_as_it_was_leaves_no_trace(cast):
    before = AuditEntry.objects.count()
    cast.browser("owner").post(person_at(cast, "admin"), entries(cast, "admin"))
    assert AuditEntry.objects.exclude(action="signed.in").count() == before


def test_a_role_says_who_gave_it(cast):
    shown = words(page(cast, where=person_at(cast, "user")))
    assert f"Role given by {cast.people['owner'].name} on" in shown


def test_a_role_that_there_is_none_of_is_refused(cast):
    answer = cast.browser("owner").post(person_at(cast, "user"), {"role": "king", f"in-{cast.space.public_id}": "boss"})
    assert answer.status_code == 422
    assert "boss is not one of the available choices" in answer.content.decode()


def test_the_last_owner_stays_one_and_is_told_why(cast):
    answer = cast.browser("owner").post(
        person_at(cast, "owner"), {"role": "member", f"in-{cast.space.public_id}": "user"}
    )
    assert answer.status_code == 422
    assert "Make someone else an owner first." in answer.content.decode()
    member = Membership.objects.get(workspace=cast.workspace, user=cast.people["owner"])
    assert (member.role, services.grants_of(member)) == ("owner", []), "all of it, or nothing"
    answer = cast.browser("owner").post(person_at(cast, "owner"), {"confirm": cast.people["owner"].email})
    assert answer.status_code == 422
    assert "Make someone else an owner first." in answer.content.decode()


def test_an_owner_can_give_up_ownership_once_there_is_another(cast):
    MembershipFactory(workspace=cast.workspace, role=roles.OWNER)
    body = {"role": "member", f"in-{cast.space.public_id}": "user"}
    answer = cast.browser("owner").post(person_at(cast, "owner"), body, follow=True)
    assert answer.status_code == 200
    assert "Pending invitations" not in answer.content.decode()
    assert "from Personas User" in words(answer.content.decode())


def test_somebody_is_removed_only_when_their_address_was_typed(cast):
    user = cast.people["user"]
    answer = cast.browser("owner").post(person_at(cast, "user"), {"confirm": "somebody@else.org"})
    assert answer.status_code == 422
    assert "Nothing was changed" in answer.content.decode()
    assert Membership.objects.filter(user=user).exists()
    answer = cast.browser("owner").post(person_at(cast, "user"), {"confirm": user.email}, follow=True)
    assert "is no longer in" in answer.content.decode()
    assert not Membership.objects.filter(user=user).exists()


def test_who_removes_oneself_lands_at_home(cast):
    MembershipFactory(workspace=cast.workspace, role=roles.OWNER)
    answer = cast.browser("owner").post(person_at(cast, "owner"), {"confirm": cast.people["owner"].email})
    assert answer.headers["Location"] == "/"


def test_somebody_of_another_workspace_is_not_there(cast):
    for method in ("get", "post"):
        assert getattr(cast.browser("owner"), method)(person_at(cast, "stranger")).status_code == 404


def test_what_a_role_allows_is_said_in_the_words_of_its_permissions(cast):
    asked = page(cast, "owner", at(cast, "access-management/invite"))
    for role in roles.SPACE_ROLES.values():
        (said,) = re.findall(rf"<dt>{role.label}</dt><dd>([^<]*)</dd>", asked)
        for permission, about in roles.SPACE_PERMISSIONS.items():
            assert (about.lower() in said.lower()) is (permission in role.permissions), (role.key, permission)
        assert (roles.PERMISSIONS["sources.read"].lower() in said.lower()) is roles.implied_by("sources.read", role.key)


def test_roles_are_those_in_the_workspace_and_of_no_other(cast):
    both = cast.people["user"]
    MembershipFactory(workspace=cast.other_workspace, user=both)
    services.grant(cast.other_space, both, "admin", by=services.COMMAND)
    found = queries.grants_by_user(cast.workspace)
    assert found[both.pk] == [queries.Grant(cast.space, "user")]
    elsewhere = queries.grants_by_user(cast.other_workspace)
    assert elsewhere[both.pk] == [queries.Grant(cast.other_space, "admin", personal=True)]


def test_a_token_is_shown_once_and_revoked(cast):
    where = at(cast, "tokens")
    made = cast.browser("user").post(where, {"name": "Export"})
    assert made.status_code == 201
    assert "no-store" in made.headers["Cache-Control"]
    secret = re.search(r"pat_[\w-]{20,}", made.content.decode()).group()
    assert secret not in page(cast, "user", where)
    token = Token.objects.get(name="Export")
    assert f'href="?revoke={token.public_id}"' in page(cast, "user", where)
    asked = page(cast, "user", f"{where}?revoke={token.public_id}")
    assert "Revoke a token?" in asked
    assert "It was never used" in asked
    token.refresh_from_db()
    assert token.revoked_at is None
    answer = cast.browser("user").post(where, {"revoke": token.public_id}, follow=True)
    assert "was revoked" in answer.content.decode()
    token.refresh_from_db()
    assert token.revoked_at


def test_a_token_needs_a_name(cast):
    answer = cast.browser("user").post(at(cast, "tokens"), {"name": " "})
    assert answer.status_code == 422
    assert not Token.objects.exists()


def test_a_token_of_somebody_else_is_not_there_but_for_an_owner(cast):
    token, _ = services.create_token(cast.workspace, cast.people["admin"], name="Theirs", by=services.COMMAND)
    where = at(cast, "tokens")
    assert "Theirs" not in page(cast, "user", where)
    for wanted in (token.public_id, "tok_nobody", ""):
        assert cast.browser("user").get(where, {"revoke": wanted}).status_code == 404
        assert cast.browser("user").post(where, {"revoke": wanted}).status_code == 404
    assert (
        cast.browser("stranger").post(at(cast, "tokens", cast.other_workspace), {"revoke": token.public_id}).status_code
        == 404
    )
    assert cast.browser("owner").post(where, {"revoke": token.public_id}).status_code == 302


def test_pages_about_people_cost_the_same_queries_for_few_and_for_many(cast):
    places = [at(cast), at(cast, "access-management/invite"), at(cast, "tokens"), person_at(cast, "user")]

    def cost():
        found = []
        for place in places:
            with CaptureQueriesContext(connection) as asked:
                assert cast.browser("owner").get(place).status_code == 200
            found.append(len(asked))
        return found

    def furnish(number):
        space = SpaceFactory(workspace=cast.workspace)
        member = MembershipFactory(workspace=cast.workspace).user
        services.grant(space, member, "user", by=services.COMMAND)
        services.grant(space, cast.people["user"], "user", by=services.COMMAND)
        person = services.Invited(f"p{number}@x.org", grants=[(space, "user")])
        services.invite(cast.workspace, [person], by=cast.people["owner"], origin="http://x")
        services.create_token(cast.workspace, member, name="t", by=services.COMMAND)

    furnish(0)
    few = cost()
    for number in range(1, 12):
        furnish(number)
    assert cost() == few
