"""What two texts have in common, what was taken out, and what was added."""

import random

import pytest

from audiences.rules.difference import ADDED, REMOVED, SAME, TextPart, by_lines, by_words


def test_words_are_told_apart_one_by_one():
    assert by_words("in the last 30 days.", "in the last 7 days.") == [
        TextPart(SAME, "in the last"),
        TextPart(REMOVED, "30"),
        TextPart(ADDED, "7"),
        TextPart(SAME, "days."),
    ]


def test_lines_are_told_apart_as_a_whole():
    assert by_lines("a\nb\nc", "a\nc\nd") == [
        TextPart(SAME, "a"),
        TextPart(REMOVED, "b"),
        TextPart(SAME, "c"),
        TextPart(ADDED, "d"),
    ]


def test_equal_texts_differ_in_nothing():
    assert by_words("a b", "a b") == by_lines("a\nb", "a\nb") == []


@pytest.mark.parametrize("seed", range(20))
def test_both_texts_can_be_read_out_of_the_difference(seed):
    chance = random.Random(seed)
    before, after = (" ".join(chance.choices(["a", "b", "c", "", "é"], k=chance.randint(1, 40))) for _ in range(2))
    parts = by_words(before, after)
    if before != after:
        assert " ".join(part.text for part in parts if part.kind != ADDED) == before
        assert " ".join(part.text for part in parts if part.kind != REMOVED) == after
