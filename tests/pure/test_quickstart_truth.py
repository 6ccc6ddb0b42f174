"""What the quickstart holds the console against must itself be right."""

import pytest

from quickstart.truth import DAY_MS, Happened, Members, but_not, performed, score

NOW = 1_790_000_000_000
WEEK = 7 * DAY_MS


def at(user_id, moment, event="Bought", latest=None):
    return Happened(user_id, event, moment, moment if latest is None else latest)


def members(*user_ids, unsure=()):
    return Members(frozenset(user_ids), frozenset(user_ids) | frozenset(unsure))


def test_a_window_holds_its_end_and_not_its_beginning():
    happened = [at("end", NOW), at("later", NOW + 1), at("first", NOW - WEEK + 1), at("beginning", NOW - WEEK)]
    assert performed(happened, "Bought", days=7)(NOW) == members("end", "first")


def test_only_the_event_asked_for_counts():
    assert performed([at("a", NOW, "Looked")], "Bought", days=7)(NOW) == members()


def test_at_least_twice_counts_each_time_in_the_window():
    happened = [
        at("twice", NOW),
        at("twice", NOW - 1),
        at("once", NOW),
        at("long ago", NOW - WEEK),
        at("long ago", NOW),
    ]
    assert performed(happened, "Bought", days=7, at_least=2)(NOW) == members("twice")


def test_who_is_just_crossing_the_edge_is_unsure():
    happened = [at("a", NOW - WEEK - 5, latest=NOW - WEEK + 5), at("b", NOW - 5, latest=NOW + 5), at("c", NOW)]
    assert performed(happened, "Bought", days=7)(NOW) == members("c", unsure=["a", "b"])


def test_not_turns_the_unsure_around():
    happened = [at(who, NOW, "Signed") for who in ("sure", "perhaps", "bought")]
    happened += [at("bought", NOW), at("perhaps", NOW - 5, latest=NOW + 5)]
    signed, bought = (performed(happened, event, days=7) for event in ("Signed", "Bought"))
    assert but_not(signed, bought)(NOW) == members("sure", unsure=["perhaps"])


def test_pairs_are_counted_within_profiles_and_within_people():
    # one profile holds three messages of ann and one of bob; bob has another one elsewhere
    placed = [("p1", "ann")] * 3 + [("p1", "bob"), ("p2", "bob")]
    assert score(placed) == (3 / 6, 3 / 4, (1 + 0) / 2)


def test_everyone_counts_alike_in_the_mean_per_person():
    # ann's 100 messages are all apart; bob's and eve's two are together; dan has a single one, and so no pair
    placed = [(f"a{n}", "ann") for n in range(100)] + [(who, who) for who in ("bob", "bob", "eve", "eve", "dan")]
    assert score(placed).recall < 0.001
    assert score(placed).recall_per_person == pytest.approx(2 / 3)


def test_nothing_at_all_is_perfect():
    assert score([]) == (1, 1, 1)
