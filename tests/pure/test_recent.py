"""What a process remembers has an end."""

from audiences.recent import Recent


def test_what_was_asked_for_longest_ago_goes_first():
    recent = Recent(3, lambda value: 1)
    for key in "abc":
        recent.put(key, key)
    recent.get("a")
    recent.put("d", "d")
    assert [recent.get(key) for key in "abcd"] == ["a", None, "c", "d"]


def test_it_is_bounded_by_what_the_values_take_and_not_by_their_number():
    recent = Recent(10, len)
    recent.put("a", "1234")
    recent.put("b", "1234")
    recent.put("a", "12345678")
    assert (recent.get("a"), recent.get("b")) == ("12345678", None)
    recent.put("huge", "12345678901")
    assert recent.get("huge") is None
    recent.put("a", "1234567890")
    assert recent.get("a") == "1234567890"
