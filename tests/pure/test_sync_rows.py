"""What the tables of a warehouse say, and what they are called."""

import json
from datetime import UTC, datetime, timedelta

import pytest

from profiles_sync.rules.rows import (
    Selection,
    SyncedEvent,
    SyncedMerge,
    SyncedPerson,
    Trigger,
    digest,
    more_columns,
    rows_of,
    rows_of_events,
)
from profiles_sync.rules.tables import (
    ID_GRAPH_UPDATES,
    LONGEST_NAME,
    MOST_COLUMNS,
    PROFILE_MERGES,
    TABLES,
    TRACKS,
    USER_TRAITS,
    name_of,
    table_of,
    track_table,
)

NOON = datetime(2026, 6, 15, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("Order Completed", "order_completed"),
        ("orderCompleted", "order_completed"),
        ("ORDER-completed!", "order_completed"),
        ("1st order", "_1st_order"),
        ("заказ", "заказ"),
    ],
)
def test_names_are_those_that_warehouses_write(text, name):
    assert name_of(text) == name


def test_long_names_and_names_without_letters_stay_apart():
    long = [name_of("x" * 200 + end) for end in "ab"]
    assert len({*long, name_of("!"), name_of("?"), name_of("ж" * 90)}) == 5
    assert all(len(name.encode()) <= LONGEST_NAME for name in long)


def test_an_event_called_as_a_table_gets_a_table_of_its_own():
    tables = [track_table(name) for name in ("tracks", "User Traits", "Ordered")]
    assert [table.name for table in tables] == ["event_tracks", "event_user_traits", "ordered"]
    assert [table_of(table.name) for table in tables] == tables
    assert [table_of(name) for name in TABLES] == [*TABLES.values()]


def person(**more):
    ids = {number: f"use_{number}" for number in (1, 2, 3)}
    born = {number: (NOON + timedelta(hours=number), Trigger("track", "Seen", f"m{number}")) for number in ids}
    merges = [SyncedMerge(3, 2, NOON, "m4", "identify"), SyncedMerge(2, 1, NOON, "m5", "alias")]
    return SyncedPerson(1, ids, born, merges=merges, **more)


def test_a_chain_of_merges_leads_each_profile_on():
    rows = rows_of(person(), Selection())
    graph = [(row["segment_id"], row["canonical_segment_id"]) for row in rows[ID_GRAPH_UPDATES]]
    created = [("use_1", "use_1"), ("use_2", "use_2"), ("use_3", "use_3")]
    assert graph == [*created, ("use_3", "use_2"), ("use_2", "use_1"), ("use_3", "use_1")]
    assert [row["triggering_event_id"] for row in rows[ID_GRAPH_UPDATES]] == ["m1", "m2", "m3", "m4", "m5", "m5"]
    assert [row["canonical_segment_id"] for row in rows[PROFILE_MERGES]] == ["use_1"] * 3


def test_whoever_went_on_without_a_merge_is_led_on_all_the_same():
    alone = person()
    alone.merges = []
    graph = rows_of(alone, Selection())[ID_GRAPH_UPDATES]
    assert {(row["segment_id"], row["canonical_segment_id"]) for row in graph} > {
        ("use_2", "use_1"),
        ("use_3", "use_1"),
    }


def test_a_digest_is_another_one_whenever_anything_is():
    people = [person(), person(traits={"a": (1, NOON)}), person(traits={"a": (2, NOON)})]
    people += [person(traits={"a": (1, NOON + timedelta(hours=1))}), person(traits={"b": (1, NOON)})]
    assert len({digest(one, rows_of(one, Selection())) for one in people}) == len(people)
    assert digest(person(), rows_of(person(), Selection())) == digest(people[0], rows_of(people[0], Selection()))


def test_only_chosen_tables_have_rows_and_names_too_long_for_an_index_are_left_out():
    rows = rows_of(person(traits={"a": ([1, {"b": None}], None), "x" * 501: (1, NOON)}), Selection({"user_traits"}))
    assert [*rows] == [USER_TRAITS]
    expected = {"canonical_segment_id": "use_1", "name": "a", "value": '[1,{"b":null}]', "seq": None, "timestamp": None}
    assert rows[USER_TRAITS] == [expected]


def event(type="track", name="Ordered", id="m1", **message):
    return SyncedEvent(id, "use_1", "src_1", 0, type, name, json.dumps(message).encode())


def test_properties_are_columns_of_the_table_of_the_name_and_contexts_of_both():
    properties = {"id": 7, "Price": 1.5, "uuid_ts": "x", "deep": {"er": {"list": [1]}}, "none": None, "nul": "a\0"}
    rows = rows_of_events([event(properties=properties, context={"page": {"url": "/"}})], Selection())
    own = rows[track_table("Ordered")][0]
    assert {name: own[name] for name in own.keys() - TRACKS.columns.keys()} == {
        "property_id": "7",
        "price": "1.5",
        "property_uuid_ts": "x",
        "deep_er_list": "[1]",
        "nul": "a�",
        "context_page_url": "/",
    }
    assert rows[TRACKS][0].keys() - TRACKS.columns.keys() == {"context_page_url"}
    assert (own["id"], own["event"], own["event_text"]) == ("m1", "ordered", "Ordered")


def test_of_one_event_that_comes_twice_the_last_one_counts():
    rows = rows_of_events([event(userId="u1"), event(userId="u2"), event(id="m2")], Selection())
    assert [row["user_id"] for row in rows[TRACKS]] == ["u2", None]


def test_calls_of_other_names_are_left_out_and_other_calls_are_not():
    stream = [event(), event(name="Seen"), event("page", ""), event("identify", "", traits={"a": 1})]
    rows = rows_of_events(stream, Selection(events={"Seen"}))
    names = {table.name: len(listed) for table, listed in rows.items()}
    assert names == {"tracks": 1, "seen": 1, "pages": 1, "identifies": 1, "profile_traits_updates": 1}


def test_a_table_has_no_more_columns_than_it_may():
    row = {f"c{number}": "x" for number in range(MOST_COLUMNS + 9)}
    columns = more_columns([row], TRACKS, ["c0", "old"])
    assert len(columns) == MOST_COLUMNS - 2
    assert "c0" not in columns
    assert more_columns([row], TRACKS, ["old"] * MOST_COLUMNS) == []
