"""What one space has and another lacks, said part by part."""

from dataclasses import replace

import pytest

from console.space_diff import DIFFERENT, HERE, MISSING, UNDER_WAY, AudienceSummary, SpaceContents, compare

BUYERS = AudienceSummary("Buyers", "People who bought.", {"kind": "event", "name": "Bought"}, False, id="aud_1")
LOYAL = AudienceSummary(
    "Loyal", "Buyers who stayed.", {"kind": "audience", "key": "buyers"}, False, frozenset({"buyers"})
)
SPENT = AudienceSummary("Spent", "How much they spent.", {"kind": "event_counter", "name": "Bought"}, False, id="tra_1")
CATCHER = ("catcher", "Catcher")
DEV = SpaceContents(
    sources={"src_1": ("Website", True)},
    rules="rules",
    traits={"spent": SPENT},
    audiences={"buyers": BUYERS, "loyal": LOYAL},
    destinations=frozenset({CATCHER}),
    subscriptions=frozenset({("buyers", CATCHER)}),
)


def states(theirs, ours):
    return [[item.state for item in part.items] for part in compare(theirs, ours)]


def test_an_empty_space_lacks_everything_but_the_rules():
    assert states(DEV, SpaceContents(rules="rules")) == [
        *([MISSING], [HERE], [MISSING]),
        *([MISSING, MISSING], [MISSING], [MISSING]),
    ]


def test_a_space_with_the_same_lacks_nothing():
    assert all(part.done for part in compare(DEV, DEV))


@pytest.mark.parametrize(
    ("change", "part", "state"),
    [
        ({"sources": {"src_1": ("Website", False)}}, 0, UNDER_WAY),
        ({"sources": {"src_2": ("Website", True)}}, 0, MISSING),
        ({"rules": "others"}, 1, DIFFERENT),
        ({"traits": {"spent": replace(SPENT, definition={"kind": "event_counter", "name": "Sold"})}}, 2, DIFFERENT),
        ({"audiences": {"buyers": replace(BUYERS, definition={"kind": "event", "name": "Sold"})}}, 3, DIFFERENT),
        ({"audiences": {"buyers": replace(BUYERS, include_anonymous=True)}}, 3, DIFFERENT),
        ({"audiences": {"buyers": replace(BUYERS, name="Customers")}}, 3, HERE),
        ({"destinations": frozenset({("webhook", "Catcher")})}, 4, MISSING),
        ({"subscriptions": frozenset({("loyal", CATCHER)})}, 5, MISSING),
    ],
)
def test_each_part_says_what_differs(change, part, state):
    found = compare(DEV, replace(DEV, **change))[part]
    assert found.items[0].state == state
    assert found.done == (state == HERE and len(found.items) == 1)


def test_a_way_leads_on_only_where_its_audience_is_here():
    nowhere, known = (
        compare(DEV, SpaceContents())[5].items[0],
        compare(DEV, replace(DEV, subscriptions=frozenset()))[5].items[0],
    )
    assert (nowhere.audience, nowhere.about) == ("", "The audience is not here yet.")
    assert (known.audience, known.about) == ("aud_1", "")


def test_one_is_one_and_true_is_true():
    number, truth = (replace(BUYERS, definition={"value": value}) for value in (1, True))
    assert not number.means(truth)


def test_only_what_is_missing_can_be_copied_and_what_it_needs_is_named():
    buyers, loyal = compare(DEV, SpaceContents())[3].items
    assert (buyers.key, loyal.key) == ("buyers", "loyal")
    assert "refers to buyers: copy that first" in loyal.about
    here, still = compare(DEV, SpaceContents(audiences={"buyers": BUYERS}))[3].items
    assert (here.key, still.key) == ("", "loyal")
    assert "copy that first" not in still.about
