"""The eight steps say what is so: each is done by what it finds, and exactly one is current until all are."""

from dataclasses import replace

import pytest

from console.checklist import CURRENT, DONE, LATER, SpaceFacts, WorkspaceFacts, health, most_advanced, steps

DEV = SpaceFacts("Shop (Dev)", "dev", sources=2, people=1204, audiences=3, computed=2, subscriptions=2, in_step=1)
FULL = WorkspaceFacts(dev=DEV, prod=replace(DEV, name="Shop", slug="prod"), members=3)


def states(facts):
    return [step.state for step in steps(facts)]


def test_with_nothing_the_first_step_is_the_current_one():
    assert states(WorkspaceFacts()) == [CURRENT, *[LATER] * 7]


def test_with_everything_all_are_done_and_none_is_current():
    assert states(FULL) == [DONE] * 8


@pytest.mark.parametrize(
    ("missing", "at"),
    [
        ({"sources": 0}, 2),
        ({"replaying": 1, "percent": 63.8}, 2),
        ({"people": 0}, 3),
        ({"audiences": 0}, 4),
        ({"subscriptions": 0, "in_step": 0}, 5),
        ({"in_step": 0}, 6),
        ({"stopped": 2, "in_step": 0}, 5),
        ({"stopped": 1}, 6),
        ({"refused": 1}, 6),
        ({"differing": 1}, 6),
    ],
)
def test_a_step_is_current_by_what_its_space_lacks(missing, at):
    assert states(replace(FULL, dev=replace(DEV, **missing)))[at] == CURRENT


@pytest.mark.parametrize("missing", ["sources", "audiences", "subscriptions", "in_step"])
def test_a_prod_space_is_done_only_with_the_same(missing):
    last = steps(replace(FULL, prod=replace(FULL.prod, **{missing: 0})))[7]
    assert last.state == CURRENT
    assert last.text.startswith("Shop still lacks ")


@pytest.mark.parametrize("trouble", ["stopped", "refused", "differing"])
def test_a_prod_space_is_not_done_while_deliveries_do_not_get_through(trouble):
    last = steps(replace(FULL, prod=replace(FULL.prod, **{trouble: 1})))[7]
    assert last.text == "Shop still lacks deliveries that all get through."


def test_inviting_people_holds_nobody_up():
    assert states(WorkspaceFacts(dev=SpaceFacts("Dev", "dev")))[1] == CURRENT
    connected = WorkspaceFacts(dev=SpaceFacts("Dev", "dev", sources=1))
    assert states(connected)[:4] == [DONE, LATER, DONE, CURRENT]
    assert states(replace(FULL, members=1, prod=None))[7] == CURRENT
    assert states(replace(FULL, members=1))[1] == CURRENT, "when nothing else is left"


def test_an_invitation_that_waits_counts_as_invited():
    step = steps(WorkspaceFacts(invited=1))[1]
    assert step.state == DONE
    assert step.text == "1 invitation sent; nobody has accepted yet."


def test_a_running_replay_is_told_in_words_and_is_not_done():
    step = steps(WorkspaceFacts(dev=replace(DEV, replaying=1, percent=63.8)))[2]
    assert not step.done
    assert "63.8 %" in step.text
    assert step.verb == "Watch the replay"


def test_the_checklist_is_about_the_space_that_is_most_advanced():
    assert most_advanced([SpaceFacts("A", "a"), DEV, SpaceFacts("C", "c", sources=1)]) is DEV
    assert most_advanced([]) is None


@pytest.mark.parametrize(
    ("facts", "said"),
    [
        ({}, ("No source yet", "")),
        ({"sources": 1}, ("Working", "good")),
        ({"sources": 1, "replaying": 1, "percent": 5.0}, ("Replaying, 5 %", "busy")),
        ({"sources": 1, "retrying": 1, "replaying": 1}, ("Retrying deliveries", "warn")),
        ({"sources": 1, "failures": 2, "retrying": 1}, ("Events delayed", "warn")),
        ({"stopped": 1, "failures": 2}, ("Deliveries stopped", "bad")),
        ({"refused": 1, "failures": 2}, ("People refused", "bad")),
        ({"differing": 1, "refused": 1, "stopped": 1}, ("Deliveries stopped", "bad")),
    ],
)
def test_a_space_is_as_well_as_the_worst_of_it(facts, said):
    assert health(SpaceFacts("A", "a", **facts)) == said
