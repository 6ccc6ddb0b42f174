"""Sets of people across merges."""

import pytest
from django.db import connection
from django.test.utils import CaptureQueriesContext
from pyroaring import BitMap

from identity.models import Profile
from identity.queries import all_numbers, canonical, identifiers_of, profile_of
from tests.factories import SpaceFactory
from tests.factories_identity import NOON, IdentifierFactory, ProfileFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def space():
    """1 took in 2 and 4; 3 took in 6; 5 is alone."""
    space = SpaceFactory()
    for number, winner in {1: None, 2: 1, 3: None, 4: 1, 5: None, 6: 3}.items():
        ProfileFactory(space=space, number=number, merged_into=winner)
    return space


def test_a_merged_number_stands_for_its_winner_and_any_other_for_itself(space):
    assert canonical(space, [1, 2, 4, 5, 6, 99]) == {1: 1, 2: 1, 4: 1, 5: 5, 6: 3, 99: 99}
    assert canonical(space, BitMap([2])) == {2: 1}
    assert canonical(space, []) == {}


@pytest.mark.parametrize(
    ("asked", "all_of_them"),
    [
        ([1], {1, 2, 4}),
        ([2], {1, 2, 4}),
        ([2, 4], {1, 2, 4}),
        ([6, 5], {3, 5, 6}),
        ([99], {99}),
        ([], set()),
        (range(1, 7), set(range(1, 7))),
    ],
)
def test_any_number_of_a_person_leads_to_all_of_them(space, asked, all_of_them):
    assert all_numbers(space, asked) == BitMap(all_of_them)


def test_the_numbers_of_another_space_are_other_people(space):
    other = SpaceFactory()
    ProfileFactory(space=other, number=1, merged_into=7)
    ProfileFactory(space=other, number=7)
    assert canonical(other, [1, 2]) == {1: 7, 2: 2}
    assert all_numbers(space, [7]) == BitMap([7])
    assert all_numbers(other, [2, 7]) == BitMap([1, 2, 7])


def test_identifiers_are_those_of_the_types_asked_for_in_the_order_in_which_they_came(space):
    for number, (profile, type, value) in enumerate(
        [(5, "user_id", "u5"), (1, "email", "a@x.org"), (1, "user_id", "u1"), (1, "anonymous_id", "a1")], 1
    ):
        IdentifierFactory(space=space, profile=profile, type=type, value=value, number=number)
    IdentifierFactory(profile=1, type="user_id", value="of another space")
    found = identifiers_of(space.pk, BitMap([1, 5]), ["user_id", "email"])
    assert [(row.profile, row.value) for row in found] == [(5, "u5"), (1, "a@x.org"), (1, "u1")]
    assert identifiers_of(space.pk, [1], []) == []
    assert identifiers_of(space.pk, [], ["user_id"]) == []


def test_an_id_that_was_merged_away_leads_to_its_winner(space):
    ids = dict(Profile.objects.filter(space=space).values_list("number", "public_id"))
    assert profile_of(space, ids[2]).number == 1
    assert profile_of(space, ids[5]).number == 5
    assert profile_of(space, "use_nobody") is None
    assert profile_of(SpaceFactory(), ids[5]) is None


def test_a_hundred_thousand_people_are_looked_up_by_index(space):
    """However many are asked for: one statement each, and no table is read as a whole."""
    start, many = 1_000, 30_000
    rows = (
        Profile(
            workspace=space.workspace,
            space=space,
            number=start + n,
            merged_into=start + n - n % 3 if n % 3 else None,
            first_seen_at=NOON,
        )
        for n in range(many)
    )
    Profile.objects.bulk_create(rows, batch_size=5_000)
    asked = range(start + 1, start + many, 3)  # of each three the second
    with CaptureQueriesContext(
        connection,
    ) as statements:
        assert all_numbers(space, asked) == BitMap(range(start, start + many))
        assert canonical(space, asked) == {number: number - 1 for number in asked}
    assert len(statements) == 2
    for statement in statements:
        assert "Seq Scan" not in _plan(statement["sql"])


def _plan(statement):
    with connection.cursor() as cursor:
        cursor.execute("EXPLAIN " + statement)
        return "\n".join(line for (line,) in cursor.fetchall())


def test_no_plan_counts_on_how_few_rows_a_new_space_has():
    """What PostgreSQL knows of a space that has just begun is that it has none."""
    tables = ("profile", "identifier", "evidence", "link", "merge")
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT attrelid::regclass::text FROM pg_attribute WHERE attname = 'space_id' AND attstattarget = 0"
        )
        assert {f"identity_{table}" for table in tables} <= {name for (name,) in cursor.fetchall()}
