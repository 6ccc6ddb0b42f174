"""The identity graph as a picture: whatever the facts, it can be read."""

from itertools import combinations

from hypothesis import given
from hypothesis import strategies as st

from identity.pages.graph_svg import MOST_MERGES, MOST_OF_A_TYPE, MOST_TYPES, Fact, picture

texts = st.text(max_size=40)
labels = st.builds(lambda label, note: (label, note), texts, texts)
groups = st.dictionaries(st.text(min_size=1, max_size=30), st.lists(labels, min_size=1, max_size=14), max_size=9)
merged = st.lists(labels, max_size=20)


def facts(by_group):
    return [
        Fact(group, label, note, f"{group} {label} {note}", f"#{group}-{at}")
        for group, rows in by_group.items()
        for at, (label, note) in enumerate(rows)
    ]


def rectangle(box):
    x, y, width, height = map(float, (box.x, box.y, box.width, box.height))
    return x, y, x + width, y + height


def overlap(one, other):
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


@given(groups, merged)
def test_no_two_nodes_overlap_and_all_are_on_the_canvas(by_group, losers):
    made = picture("Ada", "use_1", facts(by_group), facts({"merge": losers}))
    places = [rectangle(box) for box in (*made.boxes, made.profile)]
    assert not [pair for pair in combinations(places, 2) if overlap(*pair)]
    for left, top, right, bottom in places:
        assert 0 <= left < right <= float(made.width)
        assert 0 <= top < bottom <= float(made.height)
    for title in made.titles:
        assert 0 <= float(title.x) <= float(made.width)
        assert 0 <= float(title.y) <= float(made.height)


@given(groups, merged)
def test_every_fact_is_drawn_once_or_counted_as_left_out(by_group, losers):
    identifiers, merges = facts(by_group), facts({"merge": losers})
    made = picture("Ada", "use_1", identifiers, merges)
    drawn = [(box.summary, box.href) for box in made.boxes]
    assert len(set(drawn)) == len(drawn) <= 60
    assert set(drawn) <= {(fact.summary, fact.href) for fact in (*identifiers, *merges)}
    assert len(drawn) + made.left_out == len(identifiers) + len(merges)
    if not made.left_out:
        assert len(by_group) <= MOST_TYPES
        assert all(len(rows) <= MOST_OF_A_TYPE for rows in by_group.values())
        assert len(losers) <= MOST_MERGES


@given(groups, merged)
def test_the_same_facts_make_the_same_picture(by_group, losers):
    args = ("Ada", "use_1", facts(by_group), facts({"merge": losers}))
    assert picture(*args) == picture(*args)


@given(groups, merged)
def test_lines_stay_on_the_canvas(by_group, losers):
    made = picture("Ada", "use_1", facts(by_group), facts({"merge": losers}))
    assert len(made.lines) >= len(made.boxes)
    for line in made.lines:
        numbers = [float(text) for text in line.replace("M", " ").replace("H", " ").replace("V", " ").split()]
        assert all(0 <= number <= max(float(made.width), float(made.height)) for number in numbers)


def test_the_profile_is_in_the_middle_between_what_identifies_it_and_what_became_part_of_it():
    above = [Fact(group, "a", "", group, f"#{group}") for group in ("email", "user_id")]
    made = picture("Ada", "use_1", above, [Fact("", "use_2", "", "merge", "#m")])
    left, top, right, bottom = rectangle(made.profile)
    assert (left + right) / 2 == float(made.width) / 2
    assert all(rectangle(box)[3] < top for box in made.boxes[:2])
    assert rectangle(made.boxes[2])[1] > bottom
    assert [title.text for title in made.titles] == ["email", "user_id", "became part of it"]


def test_long_values_are_cut_and_said_whole_and_a_long_column_says_how_many_more_there_are():
    rows = [Fact("email", "x" * 90, "Website", "x" * 90, f"#{n}") for n in range(11)]
    made = picture("Ada", "use_1", rows, [])
    assert made.boxes[0].label == "x" * 20 + "…"
    assert made.boxes[0].summary == "x" * 90
    assert made.titles[0].text == "email · 3 more"
    assert made.left_out == 3
