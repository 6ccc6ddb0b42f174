"""Labels are tidied, and refused where nothing can have them."""

import pytest

from audiences.rules.labels import LabelRefused, parted, tidied


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ([], []),
        (["vip", "vip", "VIP"], ["vip", "VIP"]),
        (["  big \n spenders ", "", " "], ["big spenders"]),
        (["a/b", "a\\b", "a;b", "é", "日本"], ["a/b", "a\\b", "a;b", "é", "日本"]),
        (["x" * 40], ["x" * 40]),
    ],
)
def test_labels_are_there_once_without_blanks_around_them(given, expected):
    assert tidied(given) == expected


@pytest.mark.parametrize("given", [["a,b"], ["x" * 41], [str(n) for n in range(21)]])
def test_what_is_no_label_is_refused(given):
    with pytest.raises(LabelRefused):
        tidied(given)


def test_in_one_box_they_are_parted_by_commas():
    assert parted(" vip, a/b,,vip ") == ["vip", "a/b"]
    assert parted("") == []
