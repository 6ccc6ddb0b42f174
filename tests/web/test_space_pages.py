"""Spaces as such: the list, a new one with its identity rules, its name, its end; and the rules in its settings."""

import re

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext

from access import services
from access.models import AuditEntry
from access.services import COMMAND
from identity.models import Identifier
from identity.rules.policy import DEFAULT_POLICY, RECOMMENDED, moved, policy_of
from identity.services import change_policy
from spaces.models import Space
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_identity import IdentifierFactory, ProfileFactory, archived, listening, message, resolved
from tests.sample_rows import belongings

pytestmark = pytest.mark.django_db

OWN_RULES = moved(DEFAULT_POLICY, "email", up=True)


def at(cast, rest=""):
    return f"/w/{cast.workspace.slug}/{rest}"


def settings_at(cast, rest=""):
    return at(cast, f"s/{cast.space.slug}/settings{rest}")


def page(cast, where, who="owner", status=200, **query):
    answer = cast.browser(who).get(where, query)
    assert answer.status_code == status
    return answer.content.decode()


def words(html):
    return " ".join(re.sub(r"<[^>]+>", " ", html.partition("<main")[2]).split())


def entries(policy, **changed):
    """What the form of the rules holds before anything is changed."""
    found = {}
    for each in policy.identifiers:
        found |= {f"count-{each.type}": each.limit.count, f"period-{each.type}": each.limit.period}
        found |= {f"{part}-{each.type}": "\n".join(getattr(each.blocked, part)) for part in ("values", "patterns")}
    return found | {name.replace("__", "-"): value for name, value in changed.items()}


def kept(cast):
    cast.space.refresh_from_db()
    return policy_of(cast.space.identity_policy)


def test_a_list_of_spaces_holds_those_that_one_can_see(cast):
    other = SpaceFactory(workspace=cast.workspace, name="Hidden from most")
    assert other.name in page(cast, at(cast, "spaces"))
    assert other.name not in page(cast, at(cast, "spaces"), "admin")
    assert cast.space.name in page(cast, at(cast, "spaces"), "read_only")
    assert "No space is open to you" in page(cast, at(cast, "spaces"), "member")
    assert "New space" not in words(page(cast, at(cast, "spaces"), "admin"))


def test_the_list_of_spaces_is_filtered_and_downloaded(cast):
    SpaceFactory(workspace=cast.workspace, name="Shop", kind="prod")
    assert cast.space.name not in words(page(cast, at(cast, "spaces"), q="sho"))
    lines = b"".join(cast.browser("owner").get(at(cast, "spaces"), {"format": "csv"}).streaming_content).decode()
    assert lines.splitlines()[0] == "Space,Kind,Sources,Profiles,Audiences,Created"
    assert "Shop,Prod,0,0,0," in lines


def test_a_space_is_created_out_of_the_box(cast):
    body = {"name": "Trial", "kind": "dev", "rules": "default"}
    answer = cast.browser("owner").post(at(cast, "spaces/new"), body)
    made = Space.objects.get(workspace=cast.workspace, name="Trial")
    assert answer.headers["Location"] == at(cast, f"s/{made.slug}/")
    assert (made.kind, made.identity_policy) == ("dev", None)


def test_after_a_first_dev_space_prod_is_chosen(cast):
    new = f"/w/{cast.workspace.slug}/spaces/new"
    assert Space.objects.filter(workspace=cast.workspace).get().kind == "dev"
    assert cast.browser("owner").get(new).context["form"]["kind"].value() == "prod"
    SpaceFactory(workspace=cast.workspace, kind="prod")
    assert cast.browser("owner").get(new).context["form"]["kind"].value() == "dev"


def test_a_space_is_created_with_the_rules_of_another(cast):
    change_policy(cast.space, OWN_RULES)
    body = {"name": "Live", "kind": "prod", "rules": "import", "origin": cast.space.public_id}
    cast.browser("owner").post(at(cast, "spaces/new"), body)
    made = Space.objects.get(workspace=cast.workspace, name="Live")
    assert (made.kind, policy_of(made.identity_policy)) == ("prod", OWN_RULES)
    actions = AuditEntry.objects.filter(target=made.public_id).values_list("action", flat=True)
    assert set(actions) == {"space.created", "space.identity_rules_changed"}


def test_a_space_with_rules_of_its_own_leads_on_to_them(cast):
    body = {"name": "Mine", "kind": "dev", "rules": "own"}
    answer = cast.browser("owner").post(at(cast, "spaces/new"), body)
    made = Space.objects.get(workspace=cast.workspace, name="Mine")
    assert answer.headers["Location"].startswith(at(cast, f"s/{made.slug}/settings/identity"))


@pytest.mark.parametrize(
    ("body", "said"),
    [
        ({"name": "", "kind": "dev", "rules": "default"}, "This field is required."),
        ({"name": "x", "kind": "test", "rules": "default"}, "not one of the available choices"),
        ({"name": "x", "kind": "dev", "rules": "import", "origin": ""}, "Choose a space to copy the rules from."),
    ],
)
def test_a_space_that_cannot_be_made_is_not_made_and_entries_are_kept(cast, body, said):
    before = Space.objects.count()
    answer = cast.browser("owner").post(at(cast, "spaces/new"), body)
    assert answer.status_code == 422
    assert said in answer.content.decode()
    assert (
        f'value="{body["rules"]}"'
        in re.search(r"<input[^>]*name=\"rules\"[^>]*checked", answer.content.decode()).group()
    )
    assert Space.objects.count() == before


def test_the_rules_of_another_workspace_cannot_be_imported(cast):
    body = {"name": "x", "kind": "dev", "rules": "import", "origin": cast.other_space.public_id}
    assert cast.browser("owner").post(at(cast, "spaces/new"), body).status_code == 422


@pytest.mark.parametrize("who", ["admin", "user", "read_only", "member"])
def test_only_who_manages_the_workspace_makes_or_deletes_spaces(cast, who):
    for method in ("get", "post"):
        for where in (at(cast, "spaces/new"), settings_at(cast, "/delete")):
            assert getattr(cast.browser(who), method)(where).status_code == 403


def test_a_space_is_renamed_and_keeps_its_address(cast):
    slug = cast.space.slug
    answer = cast.browser("admin").post(settings_at(cast), {"name": "Better", "kind": "prod"}, follow=True)
    assert "Saved." in answer.content.decode()
    cast.space.refresh_from_db()
    assert (cast.space.name, cast.space.kind, cast.space.slug) == ("Better", "prod", slug)
    assert cast.browser("admin").post(settings_at(cast), {"name": " ", "kind": "prod"}).status_code == 422
    assert cast.browser("user").post(settings_at(cast), {"name": "No", "kind": "dev"}).status_code == 403


def test_those_who_may_not_change_a_space_see_its_name_without_controls(cast):
    shown = page(cast, settings_at(cast), "read_only").partition("<main")[2]
    assert cast.space.name in shown
    assert 'method="post"' not in shown
    assert "Delete the space" not in shown
    assert "Delete the space" not in page(cast, settings_at(cast), "admin")


def test_a_space_says_what_goes_with_it_and_goes_only_when_its_name_was_typed(cast):
    belongings(cast.space)
    assert "Profiles 1 Audiences 1 Destinations 1 Connected sources 1" in words(
        page(cast, settings_at(cast, "/delete"))
    )
    answer = cast.browser("owner").post(settings_at(cast, "/delete"), {"confirm": "something else"})
    assert answer.status_code == 422
    assert "Nothing was deleted" in answer.content.decode()
    assert Space.objects.filter(pk=cast.space.pk).exists()
    answer = cast.browser("owner").post(settings_at(cast, "/delete"), {"confirm": cast.space.name}, follow=True)
    assert "was deleted" in answer.content.decode()
    assert not Space.objects.filter(pk=cast.space.pk).exists()


def test_the_rules_are_a_table_for_everyone_who_can_see_the_space(cast):
    person = ProfileFactory(space=cast.space)
    IdentifierFactory(space=cast.space, profile=person.number, type="email", value="a@x.org")
    elsewhere = ProfileFactory(space=cast.other_space)
    IdentifierFactory(space=cast.other_space, profile=elsewhere.number, type="user_id", value="u")
    shown = words(page(cast, settings_at(cast, "/identity"), "read_only", edit="1"))
    assert "user_id 1 Not yet 1 ever -1 null" in shown
    assert "email 2 Seen 5 ever" in shown
    assert "count for new events only" in shown
    assert "Edit the rules" not in shown
    assert "Edit the rules" in page(cast, settings_at(cast, "/identity"), "admin")


def test_limits_and_blocked_values_are_changed(cast):
    body = entries(DEFAULT_POLICY, count__email="2", period__email="weekly", values__email="a@x.org\n\n b@x.org \n")
    answer = cast.browser("admin").post(settings_at(cast, "/identity"), body, follow=True)
    assert "count for events that come in from now on" in answer.content.decode()
    email = next(each for each in kept(cast).identifiers if each.type == "email")
    assert (str(email.limit), email.blocked.values) == ("2 per week", ("a@x.org", "b@x.org"))
    others = [each for each in kept(cast).identifiers if each.type != "email"]
    assert others == [each for each in DEFAULT_POLICY.identifiers if each.type != "email"]


def test_an_identifier_is_moved_and_what_else_was_entered_is_kept(cast):
    body = entries(DEFAULT_POLICY, count__user_id="3") | {"move": "up:email"}
    answer = cast.browser("admin").post(settings_at(cast, "/identity"), body)
    assert answer.headers["Location"].endswith("?edit=1")
    assert [each.type for each in kept(cast).identifiers][:2] == ["email", "user_id"]
    assert kept(cast).limit("user_id").count == 3


@pytest.mark.parametrize("move", ["up:user_id", "down:ios.push_token", "up:nothing", "sideways"])
def test_a_move_that_leads_nowhere_changes_no_order(cast, move):
    assert (
        cast.browser("admin").post(settings_at(cast, "/identity"), entries(DEFAULT_POLICY) | {"move": move}).status_code
        == 302
    )
    assert kept(cast) == DEFAULT_POLICY


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"count__email": "0"}, "greater than or equal to 1"),
        ({"period__email": "hourly"}, "not one of the available choices"),
        ({"patterns__email": "(?=a)"}, "invalid perl operator"),
    ],
)
def test_rules_that_cannot_be_used_are_refused_at_their_field(cast, changed, said):
    body = entries(DEFAULT_POLICY, **changed)
    answer = cast.browser("admin").post(settings_at(cast, "/identity"), body)
    assert answer.status_code == 422
    name = next(iter(changed)).replace("__", "-")
    assert re.search(rf'id="id_{name}_error">[^<]*{said}', answer.content.decode())
    cast.space.refresh_from_db()
    assert cast.space.identity_policy is None


ADDED = {"name": "loyalty_id", "count": "2", "period": "annually", "after": "email", "recommended": "on", "add": "yes"}


def test_an_identifier_of_its_own_is_added_to_a_space_and_counts_for_new_events(cast):
    asked = page(cast, settings_at(cast, "/identity"), "admin", add="1")
    assert "loyalty_id or loyaltyId" in asked
    assert "context.externalIds" in asked
    answer = cast.browser("admin").post(settings_at(cast, "/identity?add=1"), ADDED, follow=True)
    assert "loyalty_id is an identifier of this space" in answer.content.decode()
    assert "loyalty_id Custom 3 Not yet 2 per year" in words(answer.content.decode())
    new = kept(cast).identifiers[2]
    assert (new.type, str(new.limit), new.blocked) == ("loyalty_id", "2 per year", RECOMMENDED)
    assert [each for each in kept(cast).identifiers if each != new] == list(DEFAULT_POLICY.identifiers)
    assert AuditEntry.objects.filter(action="space.identity_rules_changed").exists()
    source = SourceFactory(workspace=cast.workspace)
    listening(cast.space, source)
    archived(
        source, message(userId="u1", properties={"loyaltyId": "L-1"}), message("identify", traits={"loyalty_id": "L-1"})
    )
    resolved(cast.space)
    (one,) = Identifier.objects.filter(space=cast.space, type="loyalty_id")
    assert Identifier.objects.get(space=cast.space, type="user_id").profile == one.profile
    assert "loyalty_id Custom 3 Seen" in words(page(cast, settings_at(cast, "/identity"), "read_only"))


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"name": "Loyalty Id"}, "A name is up to 60 lower-case letters"),
        ({"name": "email"}, "has the identifier email already"),
        ({"name": ""}, "This field is required."),
        ({"count": "0"}, "greater than or equal to 1"),
        ({"period": "hourly"}, "not one of the available choices"),
        ({"after": "nothing"}, "not one of the available choices"),
    ],
)
def test_an_identifier_that_cannot_be_is_refused_at_its_field_with_the_entries_kept(cast, changed, said):
    answer = cast.browser("admin").post(settings_at(cast, "/identity?add=1"), ADDED | changed)
    assert answer.status_code == 422
    body = answer.content.decode()
    assert re.search(rf'id="id_{next(iter(changed))}_error">[^<]*{said}', body)
    if "name" not in changed:
        assert 'value="loyalty_id"' in body
    cast.space.refresh_from_db()
    assert cast.space.identity_policy is None


def test_the_most_trusted_place_and_no_blocked_values_can_be_chosen(cast):
    cast.browser("admin").post(
        settings_at(cast, "/identity"), {"name": "card", "count": "1", "period": "ever", "after": "-", "add": "yes"}
    )
    first = kept(cast).identifiers[0]
    assert (first.type, first.blocked.values, first.blocked.patterns) == ("card", (), ())
    assert "Its own identifiers (card) are read no more" in page(
        cast, settings_at(cast, "/identity"), "admin", edit="1"
    )


def test_only_who_may_change_the_rules_adds_to_them(cast):
    for who in ("user", "read_only"):
        assert cast.browser(who).post(settings_at(cast, "/identity"), ADDED).status_code == 403
        shown = page(cast, settings_at(cast, "/identity"), who, add="1")
        assert "Add an identifier" not in shown


def test_the_rules_are_reset(cast):
    change_policy(cast.space, OWN_RULES)
    assert "Reset the rules" in page(cast, settings_at(cast, "/identity"), "admin", edit="1")
    cast.browser("admin").post(settings_at(cast, "/identity"), {"reset": "yes"})
    cast.space.refresh_from_db()
    assert cast.space.identity_policy is None
    assert "Reset the rules" not in page(cast, settings_at(cast, "/identity"), "admin", edit="1")


def test_who_may_not_change_the_rules_is_refused(cast):
    for who in ("user", "read_only"):
        assert cast.browser(who).post(settings_at(cast, "/identity"), {"reset": "yes"}).status_code == 403


def test_pages_about_spaces_cost_the_same_queries_for_few_and_for_many(cast):
    places = [at(cast, "spaces"), at(cast, "spaces/new"), settings_at(cast), settings_at(cast, "/identity?edit=1")]

    def cost():
        found = []
        for place in [*places, settings_at(cast, "/delete")]:
            with CaptureQueriesContext(connection) as asked:
                assert cast.browser("owner").get(place).status_code == 200
            found.append(len(asked))
        return found

    few = cost()
    for number in range(12):
        belongings(services.create_space(cast.workspace, name=f"Space of {number}", kind="dev", by=COMMAND))
    assert cost() == few
