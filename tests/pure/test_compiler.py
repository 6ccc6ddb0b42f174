"""Many audiences become one statement, which is written down here as a whole."""

from pathlib import Path

import pytest
from pyroaring import BitMap

from audiences.rules.compiler import LISTED, Asked, QueryScope, Span, aggregates, inner, members, time_triggers
from audiences.rules.grammar import ACCOUNTS, USERS, conditions, parse, reach
from sources.events.sql import Sql

GOLDEN = Path(__file__).parent.parent / "golden" / "statements"
NOW = 1_781_524_800_000
SEEN = {"kind": "event", "name": "Seen", "within": {"days": 7}}
PRO = {"kind": "trait", "name": "plan", "op": "equals", "value": "pro"}
VIP = {"kind": "audience", "key": "vip"}


def scope(numbers=None):
    return QueryScope(3, 5, Sql("piece <= %s", (9,)), NOW, numbers)


def asked(**definitions):
    return [Asked(key, parse(definition)) for key, definition in definitions.items()]


def written(sql):
    """One clause a line, to be read."""
    text = sql.text
    for word in (" FROM ", " UNION ALL ", " LEFT JOIN ", " WHERE ", " GROUP BY "):
        text = text.replace(word, f"\n{word[1:]}")
    return f"{text}\n-- {list(sql.values)!r}\n"


def golden(name, sql):
    assert written(sql) == (GOLDEN / f"{name}.sql").read_text()


def test_members_of_several_audiences():
    both = asked(new={"all": [SEEN, {"not": PRO}]}, rest={"any": [VIP, {"not": {"kind": "audience", "key": "new"}}]})
    golden("members", members(scope(BitMap([1, 2])), both, {"vip": BitMap([7])}))


def test_members_of_audiences_of_accounts():
    theirs = {"users": "all", "any": [SEEN]}
    (whole,) = [Asked("busy", parse({"all": [SEEN, PRO, theirs]}), of=ACCOUNTS)]
    (own,) = inner(whole)
    assert (own.definition, own.of, own.include_anonymous) == (parse({"any": [SEEN]}), USERS, True)
    golden("members_of_accounts", members(scope(BitMap([1, 2])), [whole], {own.key: BitMap([7])}))


def test_accounts_cost_people_nothing_and_events_of_users_are_read_only_where_they_are_asked_about():
    assert "links" not in members(scope(), asked(one=SEEN), {}).text
    assert "links" not in members(scope(), [Asked("one", parse(PRO), of=ACCOUNTS)], {}).text
    assert members(scope(), [Asked("one", parse(SEEN), of=ACCOUNTS)], {}).text.count("FROM timeline") == 1


@pytest.mark.parametrize(
    ("of", "definition", "steps"),
    [
        (USERS, {"all": [SEEN, PRO]}, 0),
        (ACCOUNTS, {"not": PRO}, 0),
        (ACCOUNTS, {"not": SEEN}, 1),
        (ACCOUNTS, {"users": "any", "all": [PRO]}, 1),
        (USERS, {"accounts": "none", "all": [PRO]}, 1),
        (USERS, {"accounts": "none", "all": [SEEN]}, 2),
        (ACCOUNTS, {"any": [PRO, {"users": "all", "any": [{"accounts": "any", "all": [SEEN]}]}]}, 3),
    ],
)
def test_how_far_away_those_are_on_whom_an_answer_depends(of, definition, steps):
    assert reach(parse(definition), of) == steps


def test_edges_of_several_conditions():
    found = [trigger for leaf in conditions(parse({"all": [SEEN, PRO]})) for trigger in leaf.time_triggers()]
    golden(
        "time_triggers",
        time_triggers(scope(), [Span(trigger, NOW - 1000) for trigger in found], until=NOW + 3_600_000, most=9),
    )


def test_what_two_audiences_ask_alike_is_read_once():
    twice = asked(one=SEEN, two={"all": [{"not": SEEN}, {**SEEN, "atLeast": 3}]})
    assert len(aggregates(twice, NOW)) == 1
    assert members(scope(), twice, {}).text.count("FROM timeline") == 1


def test_tables_that_nobody_asks_about_are_not_read():
    assert "FROM traits" not in members(scope(), asked(one=SEEN), {}).text
    assert "FROM timeline" not in members(scope(), asked(one=PRO), {}).text


def test_a_scan_goes_back_as_far_as_the_longest_window_and_for_ever_without_one():
    day, month = ({**SEEN, "within": {"days": days}} for days in (1, 30))
    assert "2026-05-16 12:00:00.000" in members(scope(), asked(one=day, two=month), {}).values  # thirty days ago
    ever = members(scope(), asked(one=day, two={"kind": "event", "name": "Seen"}), {})
    (scan,) = [part for part in ever.text.split("UNION ALL") if "FROM timeline" in part]
    assert "event IN %s GROUP BY" in scan


def test_few_people_are_a_list_and_many_a_bitmap():
    few, many = (members(scope(BitMap(range(1, n))), asked(one=SEEN), {}).text for n in (LISTED, LISTED + 2))
    assert ("profile IN %s" in few, "bitmapContains" in few) == (True, False)
    assert ("profile IN %s" in many, "bitmapContains" in many) == (False, True)


def test_nobody_is_not_everybody():
    narrowed = members(scope(BitMap()), asked(one=SEEN), {})
    assert [0] in narrowed.values
