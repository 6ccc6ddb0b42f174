"""What each kind of destination sends: exactly what its golden file says. An adapter without one fails here."""

import json
import math
import re
import tomllib
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from destinations.adapters import adapter_of, all_adapters
from destinations.rules.contract import BYTES, PEOPLE, REQUESTS, Address, IdentifierChange, PayloadComputation
from destinations.rules.sending import parse_sending
from destinations.rules.tables import upserted_together
from sources.events import properties
from sources.rules import spec
from sources.rules.spec import Request
from spaces.answers import Answer
from spaces.settings_schema import (
    MASK,
    InvalidSetting,
    fields_of,
    json_schema,
    masked,
    parse,
    secrets_of,
    strike,
)

GOLDEN = Path(__file__).parent.parent / "golden" / "adapters"
NOW = datetime(2026, 6, 15, 12, tzinfo=UTC)
AUDIENCE = PayloadComputation("aud_1", "first_time_shopper", "First-time shoppers", "spa_1")
TRAIT = PayloadComputation("tra_1", "orders", "Orders", "spa_1", "trait")
ACCOUNTS = replace(AUDIENCE, of="accounts"), replace(TRAIT, of="accounts")
URL = {"url": "https://example.com/hook"}


def cases() -> list[Any]:
    found = []
    for kind in all_adapters():
        path = GOLDEN / f"{kind}.toml"
        golden = tomllib.loads(path.read_text()) if path.exists() else {"case": []}
        found += [pytest.param(kind, case, id=f"{kind}: {case['name']}") for case in golden["case"]]
    return found


@pytest.mark.parametrize("kind", list(all_adapters()))
def test_every_adapter_has_a_golden_file(kind: str) -> None:
    assert (GOLDEN / f"{kind}.toml").exists()


@pytest.mark.parametrize("kind", list(all_adapters()))
def test_an_adapter_keeps_within_the_limits_that_it_documents(kind: str) -> None:
    adapter = adapter_of(kind)
    can = adapter.capabilities
    kept_to = {PEOPLE: can.batch, REQUESTS: can.per_second, BYTES: can.largest_body}
    for limit in can.limits:
        assert re.fullmatch(r"20\d\d-\d\d", limit.date)
        assert limit.source
        if limit.of in kept_to:
            assert 0 < (kept_to[limit.of] or math.inf) <= limit.value, limit.of
    secrets = [field for field in fields_of(adapter.settings) if field.secret and not field.generate]
    assert adapter.credentials or all(field.help for field in secrets)


@pytest.mark.parametrize("kind", list(all_adapters()))
def test_who_takes_accounts_says_in_its_golden_file_how(kind: str) -> None:
    golden = tomllib.loads((GOLDEN / f"{kind}.toml").read_text())
    assert adapter_of(kind).capabilities.accounts == any(case.get("accounts") for case in golden["case"])


@pytest.mark.parametrize(("kind", "case"), cases())
def test_an_adapter_sends_what_its_golden_file_says(kind: str, case: dict[str, Any]) -> None:
    adapter = adapter_of(kind)
    settings = parse(adapter.settings, case.get("settings", {}))
    about = (ACCOUNTS if case.get("accounts") else (AUDIENCE, TRAIT))[case.get("trait", False)]
    options = parse(adapter.options_for(about.kind), case.get("options", {}))
    changes = [change(n, **each) for n, each in enumerate(case["changes"], start=1)]
    about = replace(
        about,
        fields=[*dict.fromkeys(name for row in changes for name in row.fields)],
        types=[*dict.fromkeys(type for row in changes for type in row.address.others)],
    )
    asked = [step.ask(about, settings, options, NOW) for step in adapter.steps_for(about)]
    steps = [f"{each.method} {each.url} {each.body.decode()}".strip() for each in asked if each]
    assert steps == case.get("steps", [] if asked == [None] * len(asked) else steps)
    about = replace(about, remembered=case.get("remembered", {}))
    answers = [Answer(200, body=body.encode()) for body in case.get("answers", [])]
    planned = adapter.plan(changes, about, settings, options, NOW)
    assert {row.id for each in planned for row in each.rows} == {each.id for each in changes}
    requests = []
    while planned:  # with what follows each call, once it was answered
        requests.append(planned.pop(0))
        planned[:0] = requests[-1].then(answers.pop(0)) if requests[-1].then and answers else []
    assert [each.id for each in requests] == case.get("ids", [each.id for each in requests])
    assert [each.url for each in requests] == case.get("urls", [each.url for each in requests])
    if "texts" in case:
        assert [each.body.decode() for each in requests] == case["texts"]
        return
    assert [json.loads(each.body or b"null") for each in requests] == [json.loads(body) for body in case["bodies"]]


def test_what_a_receiver_forwards_to_us_stays_out_of_spaces() -> None:
    """Whether it forwards a call as it came, or with its own `integrations`: else an audience would feed itself."""
    adapter = adapter_of("webhook")
    changes = [change(1, entering=True, user_id="u1"), change(2, entering=False, anonymous_id="a1")]
    planned = adapter.plan(changes, AUDIENCE, parse(adapter.settings, URL), parse(adapter.options, {}), NOW)
    calls = [json.loads(each.body) for each in planned]
    assert len(calls) == 4
    for call in (*calls, *(call | {"integrations": {"All": True}} for call in calls)):
        request = Request(1, call["type"], json.dumps(call).encode(), 0)
        (archived,) = spec.parse(request, correct_clocks=True)
        assert isinstance(archived, spec.Message)
        assert properties.stays_out_of_spaces(json.loads(archived.text))


def change(
    number: int,
    *,
    entering: bool,
    user_id: str | None = None,
    anonymous_id: str | None = None,
    email: str | None = None,
    value: Any = None,
    others: dict[str, str] | None = None,
    fields: dict[str, Any] | None = None,
) -> IdentifierChange:
    who = Address(user_id, anonymous_id, email, others or {})
    return IdentifierChange(f"sub_1-{number}-1", entering, NOW, who, number, value, fields or {})


def requests(kind: str = "webhook", changes: int = 1, **settings: Any) -> list[Any]:
    adapter = adapter_of(kind)
    made = parse(adapter.settings, settings if kind != "webhook" else URL | settings)
    rows = [change(n, entering=True, user_id=f"u{n}") for n in range(changes)]
    return adapter.plan(rows, AUDIENCE, made, parse(adapter.options, {}), NOW)


TAKE_FIELDS = [kind for kind, adapter in all_adapters().items() if adapter.capabilities.fields]
# Whatever is looked up, it is there: each tool reads its own part.
WHO = {"Id": "c1", "id": "c1", "ContactId": "c2", "Email": "a@b.c", "Contact": {"Email": "a@b.c"}}
KNOWN = json.dumps({name: [WHO] for name in ("data", "records")}).encode()


@pytest.mark.parametrize("kind", TAKE_FIELDS)
def test_every_adapter_sends_the_fields_that_go_besides(kind: str) -> None:
    """Under the name that was given to them, for whoever enters and whoever leaves."""
    golden = tomllib.loads((GOLDEN / f"{kind}.toml").read_text())["case"][0]
    adapter = adapter_of(kind)
    settings = parse(adapter.settings, golden.get("settings", {}))
    options = parse(adapter.options, golden.get("options", {}))
    about = replace(AUDIENCE, fields=("TIER",), remembered=golden.get("remembered", {}))
    for entering in (True, False):
        row = change(1, entering=entering, fields={"TIER": "PRO-7"}, user_id="u1", anonymous_id="a1", email="a@b.c")
        # Of a table only who enters has a row: whoever leaves is deleted, with all that was said of them.
        if not entering and kind in ("postgresql", "mysql"):
            continue
        planned, bodies = adapter.plan([row], about, settings, options, NOW), b""
        while planned:
            request = planned.pop()
            bodies += request.body
            planned += request.then(Answer(200, body=KNOWN)) if request.then else []
        assert b"TIER" in bodies
        assert b"PRO-7" in bodies


def test_only_kinds_that_have_no_place_for_a_value_refuse_fields() -> None:
    refusing = all_adapters().keys() - {*TAKE_FIELDS}
    assert {"slack", "meta_ads"} <= refusing
    assert not [kind for kind in refusing if adapter_of(kind).trait_options is not None]


@pytest.mark.parametrize(
    ("kind", "name", "sentence"),
    [
        ("meta_ads", "tier", "nothing besides"),
        ("slack", "tier", "nothing besides"),
        ("mailchimp", "tier", "at most 10 capitals"),
        ("mailchimp", "MEMBERSHIP_TIER", "at most 10 capitals"),
        ("postgresql", "the tier", "letters, digits and _"),
        ("postgresql", "User_ID", "none that the table has"),
        ("clickhouse", "member", "none that the table has"),
        ("s3", "email", "of their own"),
        ("salesforce", "Tier (new)", "API name"),
    ],
)
@pytest.mark.parametrize("place", ["fields[0].to", "identifiers[0].name"])
def test_a_field_that_a_tool_cannot_take_is_refused_with_a_sentence(
    kind: str, name: str, sentence: str, place: str
) -> None:
    can = adapter_of(kind).capabilities
    field = {"to": name, "value": {"kind": "static", "value": "x"}}
    given = {"fields": [field]} if place.startswith("fields") else {"identifiers": [{"type": "email", "name": name}]}
    with pytest.raises(InvalidSetting, match=sentence) as caught:
        parse_sending(given, known=["*"], names=can.fields)
    assert caught.value.field == place


@pytest.mark.parametrize("kind", ["google_ads", "meta_ads", "snapchat_ads", "tiktok_ads"])
def test_a_digest_is_not_hashed_again(kind: str) -> None:
    """What is sent may be told to be one already."""
    golden = tomllib.loads((GOLDEN / f"{kind}.toml").read_text())["case"][0]
    adapter = adapter_of(kind)
    about = replace(AUDIENCE, remembered=golden.get("remembered", {}))
    chosen = parse(adapter.settings, golden["settings"]), parse(adapter.options, golden.get("options", {}))
    bodies = []
    for email in ("A@b.c", sha256(b"a@b.c").hexdigest()):
        (request,) = adapter.plan([change(1, entering=True, email=email)], about, *chosen, NOW)
        bodies.append(request.body)
    assert bodies[0] == bodies[1]


def test_an_upsert_of_many_rows_has_no_key_twice() -> None:
    rows = [["a", "u1", "1"], ["a", "u2", "2"], ["a", "u1", "3"], ["b", "u1", "4"], ["a", "u1", "5"]]
    parts = upserted_together(rows, 2)
    assert [[row[-1] for row in part] for part in parts] == [["1", "2", "4"], ["3"], ["5"]]
    assert upserted_together([], 2) == []


def test_list_style_posts_in_batches() -> None:
    assert [len(each.rows) for each in requests(changes=5, style="list", batchSize=2)] == [2, 2, 1]


def test_event_style_in_batches_posts_arrays() -> None:
    bodies = [json.loads(each.body) for each in requests(changes=3, batchSize=2)]
    assert [[message["type"] for message in body] for body in bodies] == [
        ["identify", "track"] * 2,
        ["identify", "track"],
    ]


def test_a_webhook_has_a_method_headers_and_a_body_of_its_own() -> None:
    body = '{"who": "{{userId}}", "is": "{{ traits.first_time_shopper }}", "text": "of {{event}}{{userId}}", "n": [1]}'
    own = {"method": "PUT", "headers": '{"X-Key": "k", "Content-Type": "application/vnd.x+json"}', "body": body}
    identify, track = requests(changes=1, **own)
    assert (identify.method, identify.headers["x-key"]) == ("PUT", "k")
    assert identify.headers["content-type"] == "application/vnd.x+json"
    assert identify.headers["webhook-id"] == identify.id
    assert json.loads(identify.body) == {"who": "u0", "is": True, "text": "of u0", "n": [1]}
    assert json.loads(track.body) == {"who": "u0", "is": None, "text": "of Audience Enteredu0", "n": [1]}
    (together,) = requests(changes=2, batchSize=2, **own)
    assert [entry["who"] for entry in json.loads(together.body)] == ["u0", "u0", "u1", "u1"]


def test_the_same_changes_have_the_same_batch_id_and_others_another() -> None:
    first, again = requests(changes=3, style="list", batchSize=3), requests(changes=3, style="list", batchSize=3)
    assert first[0].id == again[0].id != requests(changes=2, style="list", batchSize=3)[0].id


def test_nothing_at_all_to_send_is_refused_as_an_option() -> None:
    for kind in ("audience", "trait"):
        with pytest.raises(InvalidSetting, match="At least one"):
            parse(adapter_of("webhook").options_for(kind), {"sendIdentify": False, "sendTrack": False})
    with pytest.raises(InvalidSetting, match="Must not be empty"):
        parse(adapter_of("webhook").options_for("trait"), {"sendTrack": True, "computedEvent": ""})


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({}, "url"),
        ({"url": ""}, "url"),
        ({"url": 7}, "url"),
        ({"url": "ftp://example.com"}, "url"),
        (URL | {"style": "carrier pigeon"}, "style"),
        (URL | {"batchSize": 0}, "batchSize"),
        (URL | {"batchSize": 1001}, "batchSize"),
        (URL | {"batchSize": True}, "batchSize"),
        (URL | {"batchSize": "5"}, "batchSize"),
        (URL | {"signingSecret": "hello"}, "signingSecret"),
        (URL | {"signingSecret": "whsec_!!"}, "signingSecret"),
        (URL | {"colour": "red"}, "colour"),
        (URL | {"method": "GET"}, "method"),
        (URL | {"headers": "X-Key: 1"}, "headers"),
        (URL | {"headers": '{"X-Key": 1}'}, "headers"),
        (URL | {"headers": '{"X-Key": "a\\r\\nHost: b"}'}, "headers"),
        (URL | {"headers": '{"Webhook-Id": "1"}'}, "headers"),
        (URL | {"body": "{{userId}}"}, "body"),
        (URL | {"body": '"{{userId}}"'}, "body"),
        (URL | {"body": '{"a": "{{userId}}"}', "style": "list"}, "body"),
    ],
)
def test_a_wrong_setting_is_named(given: dict[str, Any], field: str) -> None:
    with pytest.raises(InvalidSetting) as caught:
        parse(adapter_of("webhook").settings, given)
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("kind", "options", "field", "sentence"),
    [
        ("mailchimp", {"mergeTag": "FIRST_TIME_SHOPPER"}, "mergeTag", "at most 10 characters"),
        ("mailchimp", {"mergeTag": "shopper"}, "mergeTag", "capitals"),
        ("mailchimp", {}, "mergeTag", "Give a merge tag"),
        ("postgresql", {"table": "a; DROP TABLE b"}, "table", "Letters, digits"),
        ("postgresql", {"layout": "people", "column": "email"}, "column", "none of id"),
        ("clickhouse", {"table": "a b"}, "table", "Letters, digits"),
        ("s3", {"name": "../{batch}"}, "name", "below the folder"),
        ("s3", {"name": "{audience}.csv"}, "name", "need {batch}"),
        ("s3", {"name": "{batch}{0.__class__}"}, "name", "In braces only"),
        ("sendgrid", {"listName": ""}, "fieldId", "ends with"),
    ],
)
def test_options_that_cannot_be_sent_are_refused_with_a_sentence(
    kind: str, options: dict[str, Any], field: str, sentence: str
) -> None:
    with pytest.raises(InvalidSetting, match=sentence) as caught:
        parse(adapter_of(kind).options, options)
    assert caught.value.field == field


def test_secrets_are_masked_and_a_mask_sent_back_changes_nothing() -> None:
    declared = adapter_of("webhook").settings
    made = parse(declared, URL | {"sharedSecret": "very secret"})
    assert masked(made)["sharedSecret"] == masked(made)["signingSecret"] == MASK
    kept = {"url": made.url, "shared_secret": made.shared_secret, "signing_secret": made.signing_secret}
    assert parse(declared, {"url": masked(made)["url"]}, kept).url == made.url
    again = parse(declared, {"url": "https://other.example", "sharedSecret": MASK, "signingSecret": MASK}, kept)
    assert (again.url, again.shared_secret) == ("https://other.example", "very secret")
    assert again.signing_secret == made.signing_secret


def test_secrets_are_struck_out_of_text() -> None:
    made = parse(adapter_of("webhook").settings, URL | {"sharedSecret": "very secret"})
    assert "secret" not in strike(f"you sent very secret and {made.signing_secret}", secrets_of(made))
    own = parse(adapter_of("webhook").settings, URL | {"headers": '{"Authorization": "Bearer k-123456"}'})
    assert strike("no such key: k-123456", secrets_of(own)) == f"no such key: {MASK}"
    keyed = parse(adapter_of("webhook").settings, {"url": "https://tool.example/hooks/0123456789abcdef?to=news"})
    said = f"POST {keyed.url}: no key 0123456789abcdef; see our hooks"
    assert strike(said, secrets_of(keyed)) == f"POST {MASK}: no key {MASK}; see our hooks"


@pytest.mark.parametrize(("kind", "case"), cases())
def test_what_the_schema_takes_is_what_the_parser_takes(kind: str, case: dict[str, Any]) -> None:
    declared = adapter_of(kind).settings
    schema = json_schema(declared)
    given = case.get("settings", {})
    jsonschema.validate(given, schema)
    parse(declared, given)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(given | {"colour": "red"}, schema)
