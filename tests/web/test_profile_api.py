"""The Profile API: what each read answers, cursors to their ends, old ids, tokens, limits, and whom it refuses."""

import json
from base64 import b64encode
from datetime import timedelta
from urllib.parse import quote, urlencode

import pytest
from django.test import Client
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from access import authentication, services
from access.models import AuditEntry, ProfileToken
from audiences import current, known_values
from audiences.models import Audience, SqlTrait
from identity import profile_reads
from identity.models import Profile
from identity.rules.profile_requests import cursor
from sources.events import client as clickhouse
from sources.services import delete_source
from spaces import rates
from spaces.clock import clock
from spaces.limits import Limits
from spaces.models import Log
from tests.factories import SourceFactory, SpaceFactory
from tests.factories_audiences import World
from tests.factories_identity import (
    NOON,
    IdentifierFactory,
    ProfileFactory,
    archived,
    crowd,
    listening,
    message,
    resolved,
)
from tests.sample_rows import make_sql_trait

pytestmark = pytest.mark.django_db
PAID = {"kind": "event", "name": "Paid", "atLeast": 1}
READS = ("traits", "external_ids", "events", "metadata", "links", "audiences?include=a")


@pytest.fixture(autouse=True)
def nothing_is_remembered():
    current.forget()
    known_values.forget()


@pytest.fixture
def source(cast):
    return SourceFactory(workspace=cast.workspace)


def basic(secret):
    return {"authorization": "Basic " + b64encode(f"{secret}:".encode()).decode()}


def token_of(space):
    return services.create_profile_token(space, name="shop", by=services.COMMAND)[1]


@pytest.fixture
def token(cast):
    return token_of(cast.space)


def ask(token, path, method="GET", body=None, **query):
    path = f"{path}?{urlencode(query)}" if query else path
    data = "" if body is None else body if isinstance(body, bytes) else json.dumps(body)
    headers = basic(token) if token else {}
    return Client().generic(method, path, data=data, content_type="application/json", headers=headers)


def base(space, collection="users", root="spaces"):
    return f"/v1/{root}/{space.public_id}/collections/{collection}/profiles"


@pytest.fixture
def get(cast, token):
    """A read's answer, or its error."""

    def read(name, what, *, collection="users", status=200, **query):
        answer = ask(token, f"{base(cast.space, collection)}/{quote(name, safe='')}/{what}", **query)
        assert answer.status_code == status, answer.content
        return answer.json() if status == 200 else answer.json()["error"]

    return read


@pytest.fixture
def walk(get):
    """All pages of a list, each of so many."""

    def pages(name, what, part, limit, **query):
        rows, after = [], {}
        while True:
            page = get(name, what, limit=limit, **query, **after)
            assert len(page[part]) <= limit
            rows.append(page[part])
            assert page["cursor"]["limit"] == limit
            if not page["cursor"]["has_more"]:
                assert page["cursor"]["next"] == ""
                return rows
            after = {"next": page["cursor"]["next"]}

    return pages


def id_of(space, number):
    return Profile.objects.get(space=space, number=number).public_id


@pytest.fixture
def ada(cast, source):
    """Ada was a visitor on two devices, belongs to Acme, and signed in: 3 and 2 went into 1; 4 is Acme."""
    listening(cast.space, source)
    shoe = {"sku": "boot", "price": 1.50, "tags": ["a", None]}
    archived(
        source,
        message(id="m1", at=-5_000, anonymousId="a1", event="Seen", properties=shoe, context={"ip": "1.2.3.4"}),
        message(id="m2", at=-4_000, anonymousId="a2", event="Seen"),
        message("identify", id="m3", at=-3_000, userId="u1", traits={"email": "Ada@X.org", "name": "Ada", "age": 36}),
        message("group", id="m4", at=-2_000, userId="u1", groupId="g1", traits={"name": "Acme"}),
        message(id="m5", at=-1_000, userId="u1", anonymousId="a2", event="Paid"),
        message("page", id="m6", userId="u1", anonymousId="a1", name="Docs"),
    )
    resolved(cast.space)
    return id_of(cast.space, 1)


# the reads


def test_traits(cast, source, ada, get, walk):
    assert get("user_id:u1", "traits") == {
        "traits": {"age": 36, "email": "Ada@X.org", "name": "Ada"},
        "cursor": {
            "url": f"/v1/spaces/{cast.space.public_id}/collections/users/profiles/{ada}/traits",
            "has_more": False,
            "next": "",
            "limit": 10,
        },
    }
    only = get(ada, "traits", include="age,none", verbose="true")["traits"]
    assert only == {"age": {"value": 36, "source_id": source.public_id, "updated_at": "2026-06-15T11:59:57.000Z"}}
    assert walk(ada, "traits", "traits", 1) == [{"age": 36}, {"email": "Ada@X.org"}, {"name": "Ada"}]
    assert get("group_id:g1", "traits", collection="accounts")["traits"] == {"name": "Acme"}


def test_the_text_of_a_trait_is_passed_through_as_it_is_kept(cast, token):
    value = {"big": 123456789012345678901234567890, "unicode": "é\u2028\U0001f600", "nested": [{"a": None}], "x": 1.5}
    person = ProfileFactory(space=cast.space, number=1, traits={'k"\n': value, "": 0, "n": 1})
    said = ask(token, f"{base(cast.space)}/{person.public_id}/traits").content.decode()
    assert "123456789012345678901234567890" in said
    assert json.loads(said)["traits"] == {"": 0, 'k"\n': value, "n": 1}


def test_every_trait_is_on_one_page_whatever_its_key_is(cast, walk):
    keys = ["", "a", "A", "a.b", "Ä", "z\u2028", "😀", "%2F", "next", "1"]
    person = ProfileFactory(space=cast.space, number=1, traits=dict.fromkeys(keys, True))
    for limit in (1, 3, 200):
        pages = walk(person.public_id, "traits", "traits", limit)
        assert [key for page in pages for key in page] == sorted(keys)


def test_external_ids(cast, source, ada, get, walk):
    shown = get(ada, "external_ids", include="email,user_id")
    assert shown["data"][0] == {
        "source_id": source.public_id,
        "collection": "users",
        "id": "u1",
        "type": "user_id",
        "created_at": "2026-06-15T11:59:57.000Z",
        "encoding": "none",
        "first_message_id": "m3",
    }
    assert [row["id"] for row in shown["data"]] == ["u1", "ada@x.org"]
    assert shown["cursor"]["url"].endswith(f"/users/profiles/{ada}/external_ids")
    rows = [row["id"] for page in walk(ada, "external_ids", "data", 1) for row in page]
    assert rows == ["a1", "a2", "u1", "ada@x.org"]
    (group,) = get("group_id:g1", "external_ids", collection="accounts", verbose="true")["data"]
    assert (group["collection"], group["type"], group["id"]) == ("accounts", "group_id", "g1")
    bare = ProfileFactory(space=cast.space, number=9)
    assert get(bare.public_id, "external_ids")["data"] == []


SINCE = {"start": "2026-06-01"}


def test_events(cast, source, ada, get, walk):
    shown = get(ada, "events", **SINCE)["data"]
    assert [row["message_id"] for row in shown] == ["m6", "m5", "m2", "m1"]
    assert shown[-1] == {
        "external_ids": [{"collection": "users", "type": "anonymous_id", "id": "a1", "encoding": "none"}],
        "context": {"ip": "1.2.3.4"},
        "type": "track",
        "message_id": "m1",
        "source_id": source.public_id,
        "timestamp": "2026-06-15T11:59:55.000Z",
        "properties": {"sku": "boot", "price": 1.5, "tags": ["a", None]},
        "event": "Seen",
        "related": {"users": ada},
    }
    assert (shown[0]["type"], shown[0]["event"], shown[0]["properties"]) == ("page", "Page Viewed", {})
    for limit in (1, 2, 3):
        rows = [row for page in walk(ada, "events", "data", limit, **SINCE) for row in page]
        assert rows == shown
        rows = [row for page in walk(ada, "events", "data", limit, sort="asc", **SINCE) for row in page]
        assert rows == shown[::-1]


@pytest.mark.parametrize("start", ["0001-01-01", "1899-12-31", "1970-01-01", "2300-01-01", "9999-12-31T23:59:59Z"])
def test_any_moment_of_the_calendar_can_be_asked_for(ada, get, start):
    assert len(get(ada, "events", start=start)["data"]) == (4 if start < "2026" else 0)
    assert len(get(ada, "events", **SINCE, end=start)["data"]) == (0 if start < "2026" else 4)


@pytest.mark.parametrize("ts", [-(10**13), -1, 0, 10**13 - 1])
def test_any_place_can_be_gone_on_from(ada, get, ts):
    after = cursor(url="", last=(ts, 2**62 - 1, 0, 2**62 - 1), limit=1)["next"]
    rows = [len(get(ada, "events", sort=sort, next=after, **SINCE)["data"]) for sort in ("desc", "asc")]
    assert rows == ([0, 4] if ts <= 0 else [4, 0])


@pytest.mark.parametrize(
    ("query", "ids"),
    [
        ({"include": "Paid"}, ["m5"]),
        ({"include": "Paid,Seen", "limit": 2}, ["m5", "m2"]),
        ({"exclude": "Paid,Seen"}, ["m6"]),
        ({"start": "2026-06-15T11:59:56Z", "end": "2026-06-15T12:00:00.000Z"}, ["m5", "m2"]),
        ({"include": "' OR 1 --"}, []),
    ],
)
def test_events_are_chosen_by_name_and_time(ada, get, query, ids):
    assert [row["message_id"] for row in get(ada, "events", **{**SINCE, **query})["data"]] == ids


def test_thirty_days_of_events_are_read_and_more_when_they_are_asked_for(cast, source, get):
    listening(cast.space, source)
    now = clock.now()
    ages = {"old": 31, "recent": 29}
    sent = {id: round((now - timedelta(days=days) - NOON) / timedelta(milliseconds=1)) for id, days in ages.items()}
    archived(source, *(message(id=id, at=at, userId="u1") for id, at in sent.items()))
    resolved(cast.space)
    assert [row["message_id"] for row in get("user_id:u1", "events")["data"]] == ["recent"]
    earlier = (now - timedelta(days=32)).date().isoformat()
    assert [row["message_id"] for row in get("user_id:u1", "events", start=earlier)["data"]] == ["recent", "old"]


def test_metadata(cast, source, ada, get):
    assert get(ada, "metadata", verbose="true") == {
        "metadata": {
            "created_at": "2026-06-15T11:59:55.000Z",
            "updated_at": "2026-06-15T12:00:00.000Z",
            "expires_at": None,
            "first_message_id": "m1",
            "first_source_id": source.public_id,
            "last_message_id": "m6",
            "last_source_id": source.public_id,
        }
    }
    without_events = ProfileFactory(space=cast.space, number=9)
    IdentifierFactory(space=cast.space, number=90, profile=9, value="u9")
    shown = get(without_events.public_id, "metadata")["metadata"]
    assert (shown["created_at"], shown["updated_at"]) == ("2026-06-15T12:00:00.000Z",) * 2
    assert (shown["first_message_id"], shown["first_source_id"]) == ("m", None)
    nothing = get(ProfileFactory(space=cast.space, number=10).public_id, "metadata")["metadata"]
    assert nothing["first_message_id"] is None


def test_links(cast, source, ada, get, walk):
    linked = get(ada, "links")
    assert linked["data"] == [
        {
            "to_collection": "accounts",
            "external_ids": [
                {
                    "id": "g1",
                    "type": "group_id",
                    "source_id": source.public_id,
                    "collection": "accounts",
                    "created_at": "2026-06-15T11:59:58.000Z",
                    "encoding": "none",
                }
            ],
        }
    ]
    (user,) = get("group_id:g1", "links", collection="accounts")["data"]
    assert user["to_collection"] == "users"
    assert {row["id"] for row in user["external_ids"]} == {"a1", "a2", "u1", "ada@x.org"}
    bare = ProfileFactory(space=cast.space, number=9)
    assert get(bare.public_id, "links")["data"] == []


def test_all_users_of_an_account_are_linked_once_each_merged_ones_too(cast, ada, token, get):
    crowd(cast.space, account=4, first=1000, count=45)
    Profile.objects.filter(space=cast.space, number__in=(1003, 1004)).update(merged_into=1002)
    # One of these is on the first page and the other on the last; whom they went into belongs to no account.
    ProfileFactory(space=cast.space, number=9)
    Profile.objects.filter(space=cast.space, number__in=(1001, 1044)).update(merged_into=9)
    rows, after = 0, {}
    while True:
        page = get("group_id:g1", "links", collection="accounts", **after)
        rows += len(page["data"])
        if not page["cursor"]["has_more"]:
            break
        after = {"next": page["cursor"]["next"]}
    assert rows == 1 + 45 - 2 - 1


def test_everybody_is_listed_but_those_who_were_merged(cast, ada, token):
    others = [ProfileFactory(space=cast.space, number=number).public_id for number in (7, 8)]
    ids, after = [], {}
    while True:
        page = ask(token, base(cast.space), limit=1, **after).json()
        ids += [row["id"] for row in page["data"]]
        if not page["cursor"]["has_more"]:
            break
        after = {"next": page["cursor"]["next"]}
    assert ids == [ada, *others]
    (account,) = ask(token, base(cast.space, "accounts")).json()["data"]
    assert account == {"id": id_of(cast.space, 4), "collection": "accounts", "created_at": "2026-06-15T11:59:58.000Z"}


# whose


@pytest.mark.parametrize("what", READS)
def test_an_old_id_of_somebody_who_was_merged_leads_to_them(cast, ada, get, what):
    what, _, include = what.partition("?include=")
    query = {"include": include} if include else {}
    wanted = get(ada, what, **query)
    for name in (id_of(cast.space, 2), id_of(cast.space, 3), "email:ADA@x.org", "anonymous_id:a2"):
        assert get(name, what, **query) == wanted


def test_the_old_address_is_the_same(cast, ada, token):
    answers = [ask(token, f"{base(cast.space, root=root)}/{ada}/traits") for root in ("spaces", "namespaces")]
    assert answers[0].content == answers[1].content
    assert ask(token, f"{base(cast.space, root='namespaces')}/{ada}/traits/").status_code == 200


@pytest.mark.parametrize("what", READS)
def test_nobody_is_found_in_another_space_or_collection(cast, ada, token, what):
    """An id or an identifier of another workspace, of the sister space, of the other collection, of nobody."""
    theirs = ProfileFactory(space=cast.other_space, number=1, identifiers=[("user_id", "theirs")])
    sister = ProfileFactory(space=SpaceFactory(workspace=cast.workspace), number=1, identifiers=[("user_id", "sister")])
    names = (
        theirs.public_id,
        sister.public_id,
        "user_id:theirs",
        "user_id:sister",
        "group_id:g1",
        "use_0",
        "user_id:",
        "x",
        ":",
    )
    for name in names:
        answer = ask(token, f"{base(cast.space)}/{name}/{what}")
        assert (answer.status_code, answer.json()) == (
            404,
            {"error": {"code": "not_found", "message": "Profile was not found."}},
        ), name
    assert ask(token, f"{base(cast.space, 'accounts')}/{ada}/{what}").status_code == 404


def addresses(space, name):
    """(method, path, body) of every call."""
    for read in READS:
        yield "GET", f"{base(space)}/{name}/{read}", None
    yield "GET", base(space), None
    yield "POST", f"{base(space)}/batch", {"ids": [name]}


def test_a_token_opens_its_own_space_and_no_other(cast, ada):
    theirs, sister = token_of(cast.other_space), token_of(SpaceFactory(workspace=cast.workspace))
    nobody = SpaceFactory.build(public_id="spa_0")
    for secret in (theirs, sister):
        for (method, path, body), (_, missing, _) in zip(
            addresses(cast.space, ada), addresses(nobody, ada), strict=True
        ):
            answer, unknown = ask(secret, path, method, body), ask(secret, missing, method, body)
            assert (answer.status_code, answer.json()["error"]["code"]) == (404, "not_found"), path
            assert answer.content == unknown.content


@pytest.mark.parametrize("header", ["", "Basic", "Basic x", "Basic Og==", "Basic /w==", "Bearer {}", "{}", "Basic ÿ"])
def test_whoever_shows_no_token_is_told_so(cast, ada, token, header):
    for method, path, body in addresses(cast.space, ada):
        headers = {"authorization": header.format(token)} if header else {}
        answer = Client().generic(method, path, data=json.dumps(body) if body else "", headers=headers)
        assert (answer.status_code, answer.json()["error"]["code"]) == (401, "authentication_error")
        assert answer["WWW-Authenticate"].startswith("Basic ")


def test_tokens_of_the_api_and_write_keys_open_nothing(cast, ada, source):
    api = cast.bearer("owner")["authorization"].partition(" ")[2]
    for secret in (api, "prf_unknown", source.public_id):
        assert ask(secret, f"{base(cast.space)}/{ada}/traits").status_code == 401


# life of a token


def test_a_token_is_made_shown_once_used_and_revoked(cast, ada):
    place = f"/api/spaces/{cast.space.public_id}/profile-tokens"
    made = cast.call("admin", "POST", place, {"name": "shop/production"}).json()["data"]["token"]
    secret, path = made["secret"], f"{base(cast.space)}/{ada}/traits"
    assert secret.startswith("prf_")
    assert len(secret) == 47
    assert secret not in str(list(ProfileToken.objects.values())) + str(list(AuditEntry.objects.values()))
    assert (made["createdBy"], made["lastUsedAt"]) == (cast.people["admin"].email, None)
    assert ask(secret, path).status_code == 200
    (row,) = cast.call("admin", "GET", place).json()["data"]["tokens"]
    assert row["lastUsedAt"]
    assert "secret" not in row
    used_at = ProfileToken.objects.get().last_used_at
    ask(secret, path)
    assert ProfileToken.objects.get().last_used_at == used_at  # to the minute: a busy program rewrites no row
    assert cast.call("admin", "DELETE", f"{place}/{made['id']}").status_code == 200
    assert ask(secret, path).status_code == 401
    assert cast.call("admin", "GET", place).json()["data"]["tokens"] == []
    assert cast.call("admin", "DELETE", f"{place}/{made['id']}").status_code == 404
    actions = AuditEntry.objects.filter(target=made["id"]).order_by("pk").values_list("action", "actor__email")
    assert list(actions) == [(f"profile_token.{what}", cast.people["admin"].email) for what in ("created", "revoked")]


def test_a_token_that_was_revoked_elsewhere_is_known_for_a_second_at_most(cast, ada, token, monkeypatch):
    now, path = [1000.0], f"{base(cast.space)}/{ada}/traits"
    monkeypatch.setattr(authentication.time, "monotonic", lambda: now[0])
    assert ask(token, path).status_code == 200
    ProfileToken.objects.update(revoked_at=clock.now())  # by another process
    now[0] += authentication.KNOWN_FOR_S
    assert ask(token, path).status_code == 401


def test_only_admins_of_the_space_have_to_do_with_tokens(cast, token):
    place = f"/api/spaces/{cast.space.public_id}/profile-tokens"
    for who, status in (("user", 403), ("read_only", 403), ("member", 403), ("stranger", 404), ("nobody", 401)):
        assert cast.call(who, "GET", place).status_code == status
        assert cast.call(who, "POST", place, {"name": "x"}).status_code == status
    assert ProfileToken.objects.count() == 1


def test_the_token_of_a_deleted_space_opens_nothing(cast, ada, token):
    services.delete_space(cast.space, by=services.COMMAND)
    assert ask(token, f"{base(cast.space)}/{ada}/traits").status_code == 401


# traits of all kinds, and memberships


@pytest.fixture
def world(cast):
    """Ada paid, Bob did not; audiences of people and of accounts, and two computed traits, are computed."""
    world = World(cast.space)
    world.sent(message("identify", userId="ada", traits={"plan": "pro", "buyers": "no audience"}))
    world.sent(message("identify", userId="bob", traits={"plan": "free"}))
    world.sent(message("group", userId="ada", groupId="g1", traits={"name": "Acme"}))
    world.did("ada", "Paid", ago=timedelta(minutes=2), properties={"tags": ["x"]})
    for key, definition in {"buyers": PAID, "vip": PAID, "nobody": PAID | {"name": "Never"}}.items():
        world.audience(key, definition)
    world.audience("companies", {"kind": "trait", "name": "name", "op": "equals", "value": "Acme"}, of="accounts")
    for key, definition in {
        "orders": {"kind": "event_counter", "name": "Paid"},
        "tags": {"kind": "first", "name": "Paid", "property": "tags"},
    }.items():
        world.audience(key, definition, kind="trait")
    world.computed()
    return world


def test_traits_of_all_kinds(cast, world, get):
    shown = get("user_id:ada", "traits")["traits"]
    assert shown == {"buyers": "no audience", "orders": 1, "plan": "pro", "tags": ["x"], "vip": True}
    assert get("user_id:bob", "traits")["traits"] == {"plan": "free"}
    assert get("user_id:ada", "traits", **{"class": "audience"})["traits"] == {"buyers": True, "vip": True}
    assert get("user_id:ada", "traits", **{"class": "computed_trait"})["traits"] == {"orders": 1, "tags": ["x"]}
    both = get("user_id:ada", "traits", include="orders,plan,nobody", **{"class": "computed_trait,custom"})["traits"]
    assert both == {"orders": 1, "plan": "pro"}
    assert get("user_id:ada", "traits", status=400, **{"class": "audience,x"})["code"] == "invalid_request_error"
    account = get("group_id:g1", "traits", collection="accounts")["traits"]
    assert account == {"companies": True, "name": "Acme"}
    verbose = get("user_id:ada", "traits", verbose="true", include="orders,vip")["traits"]
    assert verbose["orders"]["value"] == 1
    assert {row["updated_at"] for row in verbose.values()} == {"2026-06-15T12:00:00.000Z"}
    pages, after = [], {}
    while not pages or after:
        page = get("user_id:ada", "traits", limit=2, **after)
        pages.append(page["traits"])
        after = {"next": page["cursor"]["next"]} if page["cursor"]["has_more"] else {}
    assert [list(page) for page in pages] == [["buyers", "orders"], ["plan", "tags"], ["vip"]]


def test_sql_traits_are_told_from_what_else_was_sent(cast, ada, source, get):
    trait = make_sql_trait(cast.space)
    assert get(ada, "traits", **{"class": "sql_trait"})["traits"] == {}
    SqlTrait.objects.filter(pk=trait.pk).update(source=source)
    assert list(get(ada, "traits", **{"class": "sql_trait"})["traits"]) == ["age", "email", "name"]
    assert get(ada, "traits", **{"class": "custom"})["traits"] == {}


def test_memberships_are_looked_up_by_keys(cast, world, get):
    asked = "buyers,nobody,companies,orders,no_such"
    answer = {"buyers": True, "nobody": False, "companies": None, "orders": None, "no_such": None}
    assert get("user_id:ada", "audiences", include=asked) == {"audiences": answer}
    assert get("user_id:bob", "audiences", include="buyers,vip") == {"audiences": {"buyers": False, "vip": False}}
    assert get("group_id:g1", "audiences", collection="accounts", include="companies")["audiences"]["companies"]
    for keys in ("", ",".join(map(str, range(101)))):
        assert get("user_id:ada", "audiences", include=keys, status=400)["code"] == "invalid_request_error"


def test_who_enters_and_leaves_is_seen_within_a_second(cast, world, get, monkeypatch):
    def vip():
        return get("user_id:bob", "audiences", include="vip")["audiences"]["vip"]

    now = [1000.0]
    monkeypatch.setattr(current.time, "monotonic", lambda: now[0])
    assert vip() is False
    world.did("bob", "Paid")
    world.ticked()
    assert vip() is False  # as this process knows it
    now[0] += current.AGE_S
    assert vip() is True
    world.did("bob", "Paid")
    world.ticked()
    now[0] += current.AGE_S
    assert get("user_id:bob", "traits", include="orders")["traits"] == {"orders": 2}


@pytest.fixture
def often(world, get, monkeypatch):
    """The computed traits of the world are asked about so often that this process keeps their values."""
    monkeypatch.setattr(known_values, "ASKED_OFTEN", 1)
    now = [1000.0]
    monkeypatch.setattr(current.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(known_values, "MANY_CHANGED", 1)
    monkeypatch.setattr(known_values, "MUCH_CHANGED", 0)

    def asked(user, *, later=current.AGE_S):
        now[0] += later
        traits = get(f"user_id:{user}", "traits", **{"class": "computed_trait"})["traits"]
        known_values._reader.submit(int).result()  # what it began to read is read
        return traits

    return asked


def store_is_asked(monkeypatch):
    """What is asked of the event store from now on."""
    statements, rows = [], clickhouse.rows
    monkeypatch.setattr(clickhouse, "rows", lambda query, **more: statements.append(query) or rows(query, **more))
    return statements


def test_values_that_are_asked_for_often_are_kept_and_only_who_changed_is_looked_up(world, often, monkeypatch):
    world.did("bob", "Paid")
    world.ticked()
    assert often("ada") == {"orders": 1, "tags": ["x"]}
    statements = store_is_asked(monkeypatch)
    assert (often("ada"), often("bob")) == ({"orders": 1, "tags": ["x"]}, {"orders": 1})
    assert statements == []
    world.did("ada", "Paid")
    world.ticked()
    statements.clear()
    assert often("bob") == {"orders": 1}
    assert statements == []
    assert often("ada") == {"orders": 2, "tags": ["x"]}
    assert len(statements) == 1
    world.did("bob", "Paid")
    world.ticked()
    assert often("bob") == {"orders": 2}  # two have changed, which is many: the column was read anew
    statements.clear()
    assert (often("ada"), often("bob")) == ({"orders": 2, "tags": ["x"]}, {"orders": 2})
    assert statements == []


def test_values_are_kept_for_a_while_of_one_version_and_one_log(cast, world, often, monkeypatch):
    often("ada")
    statements = store_is_asked(monkeypatch)
    assert often("ada", later=known_values.KEPT_S)["orders"] == 1
    assert len(statements) == 1
    orders = Audience.everything.get(space=cast.space, key="orders")
    world.version(orders, {"kind": "event_counter", "name": "Never"})
    world.computed()
    assert often("ada") == {"tags": ["x"]}
    Log.objects.filter(stage="evaluate", partition=cast.space.pk).update(committed=1)
    statements.clear()
    often("ada")
    assert len(statements) == 1


def test_values_that_are_too_many_to_keep_are_looked_up(often, monkeypatch):
    monkeypatch.setattr(known_values, "MOST_BYTES", 2)
    statements = store_is_asked(monkeypatch)
    assert [often("ada")["orders"] for _ in range(3)] == [1, 1, 1]
    assert len(statements) == 3


def test_an_audience_that_is_deleted_is_no_trait_any_more(cast, world, get):
    assert "vip" in get("user_id:ada", "traits")["traits"]
    cast.call("admin", "DELETE", f"/api/spaces/{cast.space.public_id}/audiences/{audience_id(cast, 'vip')}")
    current.forget()
    assert "vip" not in get("user_id:ada", "traits")["traits"]


def audience_id(cast, key):
    rows = cast.call("admin", "GET", f"/api/spaces/{cast.space.public_id}/audiences").json()["data"]["audiences"]
    return next(row["id"] for row in rows if row["key"] == key)


# a hundred at once


@pytest.fixture
def batch(cast, token):
    def post(body, status=200, collection="users"):
        answer = ask(token, f"{base(cast.space, collection)}/batch", "POST", body)
        assert answer.status_code == status, answer.content
        return answer.json()["data"] if status == 200 else answer.json()["error"]

    return post


def test_a_batch_has_one_answer_for_each_name_in_order(cast, world, batch):
    ada, bob = id_of(cast.space, 1), id_of(cast.space, 2)
    rows = batch({"ids": ["user_id:bob", ada, "user_id:no", "user_id:ada\0"], "include": ["plan", "orders"]})
    assert [row["id"] for row in rows] == ["user_id:bob", ada, "user_id:no", "user_id:ada\0"]
    assert rows[0] == {"id": "user_id:bob", "profile_id": bob, "traits": {"plan": "free"}}
    assert rows[1]["traits"] == {"plan": "pro", "orders": 1}
    assert rows[2]["error"] == rows[3]["error"] == {"code": "not_found", "message": "Profile was not found."}
    (row,) = batch({"ids": ["user_id:ada"], "class": "audience", "verbose": True})
    assert row["traits"]["vip"]["value"] is True


def test_a_hundred_people_are_read_in_as_many_statements_as_one(cast, world, batch, django_assert_max_num_queries):
    people = [ProfileFactory(space=cast.space, number=100 + number, traits={"n": number}) for number in range(99)]
    with django_assert_max_num_queries(12):
        rows = batch({"ids": [person.public_id for person in people] + ["user_id:ada"]})
    assert [row["traits"].get("n") for row in rows] == [*range(99), None]


@pytest.mark.parametrize(
    "body",
    [
        *(b"", b"[]", b"{", b"\xff", b'{"ids": []}', b'{"ids": "x"}', b'{"ids": [1]}', b'{"ids": ["\\ud800"]}'),
        *(b'{"ids": ["x"], "more": 1}', b"[" * 100_000, json.dumps({"ids": ["x"] * 101}).encode()),
    ],
)
def test_a_batch_that_cannot_be_read_is_refused(batch, body):
    assert batch(body, 400)["code"] == "validation_error"


@pytest.mark.parametrize(
    "kind", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded", "x/y; charset=hex"]
)
def test_a_batch_is_json_whatever_it_is_called(cast, ada, token, kind):
    body = json.dumps({"ids": [ada]})
    answer = Client().generic("POST", f"{base(cast.space)}/batch", body, content_type=kind, headers=basic(token))
    assert answer.status_code == 200


# whatever is sent


def test_answers_have_the_headers_of_servers_only(cast, ada, token):
    path = f"{base(cast.space)}/{ada}/traits"
    for answer in (ask(token, path), ask("x", path), ask(token, f"{path}/none"), ask(token, path, "OPTIONS")):
        assert answer["Content-Type"] == "application/json"
        assert answer["Request-Id"] == answer["X-Request-Id"]
        assert not [name for name in answer.headers if name.startswith("Access-Control")]
        assert not answer.cookies
    head = ask(token, path, "HEAD")
    assert (head.status_code, head.content) == (200, b"")


@pytest.mark.parametrize(
    ("method", "rest", "status", "code"),
    [
        ("GET", "collections/robots/profiles/user_id:u1/traits", 400, "validation_error"),
        ("GET", "collections/us!ers/profiles", 400, "validation_error"),
        ("GET", "collections/users/profiles/user_id:u1/secrets", 404, "not_found"),
        ("GET", "collections/users/profiles/user_id:u1", 404, "not_found"),
        ("GET", "", 404, "not_found"),
        ("POST", "collections/users/profiles/user_id:u1/traits", 405, "invalid_request_error"),
        ("DELETE", "collections/users/profiles/user_id:u1/traits", 405, "invalid_request_error"),
        ("GET", "collections/users/profiles/batch", 405, "invalid_request_error"),
    ],
)
def test_what_is_no_call_is_an_error_that_programs_read(cast, ada, token, method, rest, status, code):
    answer = ask(token, f"/v1/spaces/{cast.space.public_id}/{rest}", method)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
    assert answer.get("Allow") == ({"batch": "POST"}.get(rest[-5:], "GET, HEAD") if status == 405 else None)


@pytest.mark.parametrize(
    ("what", "query"),
    [
        ("traits", {"limit": 201}),
        ("external_ids", {"limit": 101}),
        ("links", {"limit": 21}),
        ("events", {"limit": 0}),
        ("events", {"sort": "up"}),
        ("events", {"start": "yesterday"}),
        ("events", {"next": "MQ"}),
        ("external_ids", {"next": "x"}),
        ("traits", {"verbose": "maybe"}),
        ("metadata", {"verbose": "1"}),
    ],
)
def test_a_parameter_that_cannot_be_is_refused_by_name(ada, get, what, query):
    error = get(ada, what, status=400, **query)
    assert error["code"] == "invalid_request_error"
    assert f"`{next(iter(query))}`" in error["message"]


HOSTILE = st.one_of(
    st.text(max_size=30),
    st.text(alphabet="/:%?#&=+.\\'\"\0\n\r\x85\u2028é😀", max_size=12),
    st.sampled_from(
        ["..", "../..", "%00", "%ff%fe", "use_' OR 1=1", "email:" + "x" * 2000, "1" * 400, "{}", "%s", "batch"]
    ),
)


@pytest.fixture
def wire(token, settings):
    settings.LIMITS = Limits('{"space": {"reads_per_second": 0}}')
    client = Client(raise_request_exception=True)

    def get(path):
        """As it comes over the wire: the address is not escaped a second time."""
        return client.get("/", headers=basic(token), PATH_INFO=path.encode().decode("latin-1"))

    return get


@hypothesis_settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    name=HOSTILE,
    what=st.sampled_from(READS[:-1]),
)
def test_no_name_whatsoever_is_an_error_of_ours(cast, token, wire, name, what):
    escaped = ask(token, f"{base(cast.space)}/{quote(name, safe='', errors='replace')}/{what}")
    assert escaped.status_code in (400, 404), (name, escaped.content)
    assert escaped.json()["error"]["code"] in ("not_found", "invalid_request_error")
    raw = wire(f"{base(cast.space)}/{name}/{what}")
    assert raw.status_code in (400, 404), (name, raw.content)


@hypothesis_settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    query=st.dictionaries(
        st.sampled_from(["include", "exclude", "next", "class", "start", "end", "sort", "limit"]), st.text(max_size=15)
    ),
    what=st.sampled_from(READS[:-1]),
)
def test_no_parameter_whatsoever_is_an_error_of_ours(cast, token, settings, query, what):
    settings.LIMITS = Limits('{"space": {"reads_per_second": 0}}')
    person = Profile.objects.filter(space=cast.space).first() or ProfileFactory(space=cast.space, traits={"a": 1})
    path = f"{base(cast.space)}/{person.public_id}/{what}?" + urlencode(query, errors="replace")
    assert ask(token, path).status_code in (200, 400)


@pytest.mark.parametrize(
    "value", ["a/b", "a/traits", "https://x.org/?q=1#f", "x\ny", "ü😀", "a%2Fb", "+49 1", "a:b", "a b"]
)
def test_an_identifier_may_have_any_character(cast, get, value):
    person = ProfileFactory(space=cast.space, number=1, identifiers=[("crm_id", value)], traits={"a": 1})
    assert get(f"crm_id:{value}", "traits")["cursor"]["url"].endswith(f"/{person.public_id}/traits")


def test_a_message_that_is_no_object_of_objects_is_passed_through(cast, source, get):
    listening(cast.space, source)
    archived(source, message(id="odd", userId="u1", context=None, properties=None) | {"event": "Odd\u2028"})
    resolved(cast.space)
    (row,) = get("user_id:u1", "events", **SINCE)["data"]
    assert (row["event"], row["context"], row["properties"]) == ("Odd\u2028", None, None)


def test_what_a_deleted_source_sent_stays_and_names_none(cast, source, ada, get):
    delete_source(source)
    assert {row["source_id"] for row in get(ada, "external_ids")["data"]} == {None}
    assert {row["source_id"] for row in get(ada, "events", **SINCE)["data"]} == {None}
    assert get(ada, "traits", verbose="true")["traits"]["age"]["source_id"] is None


# limits, and stores that are away


def test_more_requests_than_a_space_may_send_are_told_when_to_come_back(cast, ada, token, settings, caplog):
    settings.LIMITS = Limits(
        json.dumps({"space": {"reads_per_second": 50}, cast.space.public_id: {"reads_per_second": 0.1}})
    )
    path = f"{base(cast.space)}/{ada}/traits"
    other, theirs = token_of(cast.space), token_of(cast.other_space)
    statuses = [ask(secret, path).status_code for secret in (token, other, token, other)]
    assert statuses == [200, 200, 429, 429]  # all tokens of a space together; the second has its debt still allowed
    refused = ask(token, path)
    assert refused.json()["error"]["code"] == "rate_limit_error"
    assert not caplog.records  # addresses name people, and a flood would fill the log
    assert 1 <= int(refused["Retry-After"]) <= 20
    assert ask(theirs, f"{base(cast.other_space)}/x/traits").status_code == 404  # no other space


def test_a_space_is_asked_a_hundred_times_a_second_unless_somebody_says_otherwise(cast, ada, token, monkeypatch):
    spent = []
    monkeypatch.setattr(rates, "spend", lambda name, **limits: spent.append((name, limits)) or 0.0)
    for _ in range(5):
        ask(token, f"{base(cast.space)}/{ada}/traits")
    assert spent == [(f"profiles:{cast.space.pk}", {"rate": 100.0, "burst": 100.0, "cost": 5})]


def test_without_the_event_store_traits_are_read_and_events_are_away(cast, ada, token, monkeypatch):
    def away(*args, **kwargs):
        raise OSError("away")

    monkeypatch.setattr(clickhouse, "rows", away)
    assert ask(token, f"{base(cast.space)}/{ada}/traits").status_code == 200
    answer = ask(token, f"{base(cast.space)}/{ada}/events")
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "unavailable")
    assert answer["Retry-After"] == "5"


def test_a_fault_of_ours_is_said_in_the_same_shape(cast, ada, token, monkeypatch):
    monkeypatch.setitem(profile_reads.READS, "traits", lambda asked, name: 1 / 0)
    answer = ask(token, f"{base(cast.space)}/{ada}/traits")
    assert (answer.status_code, answer.json()["error"]["code"]) == (500, "internal_error")


def test_another_host_name_is_refused_in_the_same_shape(cast, ada, token):
    answer = Client().get(f"{base(cast.space)}/{ada}/traits", headers=basic(token) | {"host": "evil.example"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, "invalid_request_error")


# the page


def page(cast, who="admin", method="get", **form):
    where = f"/w/{cast.workspace.slug}/s/{cast.space.slug}/settings/profile-api"
    return getattr(cast.browser(who), method)(where, form)


def test_the_page_makes_shows_and_revokes_tokens(cast, ada):
    assert "No tokens yet" in page(cast).content.decode()
    made = page(cast, method="post", name="shop/production")
    assert made.status_code == 201
    assert "no-store" in made["Cache-Control"]
    secret = made.content.decode().partition('id="secret">')[2].partition("<")[0]
    assert ask(secret, f"{base(cast.space)}/{ada}/traits").status_code == 200
    shown = page(cast).content.decode()
    assert secret not in shown
    assert f"/v1/spaces/{cast.space.public_id}/collections/users/profiles/" in shown
    token = ProfileToken.objects.get()
    assert "Revoke a token?" in page(cast, revoke=token.public_id).content.decode()
    assert page(cast, method="post", revoke=token.public_id).status_code == 302
    assert ask(secret, f"{base(cast.space)}/{ada}/traits").status_code == 401
    assert page(cast, method="post", name=" ").status_code == 422
    for who, status in (("user", 403), ("stranger", 404)):
        assert page(cast, who).status_code == status
    assert page(cast, revoke="ptk_0").status_code == 404
    assert page(cast, method="post", revoke=token.public_id).status_code == 404
