"""The generated shop keeps its promises, at a size that takes a moment."""

from collections import Counter, defaultdict

import pytest

from quickstart.resolver import DEFAULTS, Fed, Reference
from quickstart.shop import DAY, HOUR, MOBILE, SIGNED_UP, SPAN, STORY_END, WEBSITE, Shop, Size
from quickstart.truth import score

ANCHOR = 1_790_000_000_000
SMALL = Size(customers=500, visitors=100, messages=12_000)


@pytest.fixture(scope="module")
def shop():
    shop = Shop(seed=4, anchor=ANCHOR, size=SMALL)
    assert len(shop.distinct) == SMALL.messages
    return shop


def test_the_same_seed_and_anchor_send_the_same_messages(shop):
    assert Shop(seed=4, anchor=ANCHOR, size=SMALL).sent == shop.sent


@pytest.mark.parametrize("later", [HOUR, 7 * HOUR + 12_345, 3 * DAY])
def test_only_the_times_depend_on_when_it_is_started(shop, later):
    other = Shop(seed=4, anchor=ANCHOR + later, size=SMALL)
    assert [each._replace(at=each.at + later) for each in shop.sent] == other.sent


def test_another_seed_sends_others(shop):
    assert Shop(seed=2, anchor=ANCHOR, size=SMALL).digest != shop.digest


def test_its_full_size_is_at_least_what_is_promised():
    assert Size().customers >= 5_000
    assert Size().messages >= 200_000


def test_everything_happened_in_the_last_thirty_days(shop):
    assert min(each.at for each in shop.distinct) > ANCHOR - SPAN + HOUR
    assert max(each.at for each in shop.distinct) <= ANCHOR


def test_every_message_has_an_id_of_its_own(shop):
    assert len({each.message_id for each in shop.distinct}) == len(shop.distinct)


def test_one_device_in_twenty_or_more_is_shared(shop):
    devices = {id(device): device for person in shop.people for device in person.devices}.values()
    assert sum(len(device.owners) > 1 for device in devices) >= len(devices) / 20


def test_some_people_have_more_than_five_anonymous_ids(shop):
    ids = defaultdict(set)
    for each in shop.distinct:
        ids[each.person].add(each.message.get("anonymousId"))
    assert sum(len(found - {None}) > 5 for found in ids.values()) >= 2


def test_people_own_several_devices(shop):
    assert sum(len(person.devices) > 1 for person in shop.people) > 100


def test_visitors_are_anonymous_before_they_sign_in(shop):
    first_named, first_anonymous = {}, {}
    for each in shop.distinct:
        firsts = first_named if "userId" in each.message else first_anonymous
        firsts[each.person] = min(each.at, firsts.get(each.person, each.at))
    assert sum(first_anonymous.get(person, at) < at for person, at in first_named.items()) > 100


def test_messages_are_doubled_late_and_out_of_order(shop):
    copies = Counter(each.message_id for each in shop.sent)
    steps = [later.at - earlier.at for earlier, later in zip(shop.sent, shop.sent[1:], strict=False)]
    assert 0.01 < sum(count == 2 for count in copies.values()) / len(copies) < 0.03
    assert sum(step < 0 for step in steps) > len(steps) / 50
    assert min(steps) < -DAY


def test_all_kinds_of_calls_come_from_three_sources(shop):
    assert {each.message["type"] for each in shop.distinct} == {"identify", "track", "page", "screen", "group"}
    assert len({each.source for each in shop.distinct}) == 3
    assert {each.source for each in shop.distinct if each.message["type"] == "page"} == {WEBSITE}
    assert {each.source for each in shop.distinct if each.message["type"] == "screen"} == {MOBILE}


def test_nights_are_quieter_than_evenings(shop):
    hours = Counter((each.at - ANCHOR + STORY_END) // HOUR % 24 for each in shop.distinct)
    assert hours[19] + hours[20] > 4 * (hours[3] + hours[4])


def test_sign_ups_are_spread_over_the_month(shop):
    weeks = Counter((ANCHOR - each.at) // (7 * DAY) for each in shop.distinct if each.message.get("event") == SIGNED_UP)
    assert all(weeks[week] > 30 for week in range(4))


def test_the_naive_resolver_finds_most_of_the_people(shop):
    reference = Reference(DEFAULTS)
    for each in sorted(shop.distinct, key=lambda each: each.at):
        reference.feed(Fed(each.message, each.message_id, each.at))
    profile = {id: number for number, found in enumerate(reference.profiles()) for id in found.messages}
    precision, recall, per_person = score((profile[each.message_id], each.person) for each in shop.distinct)
    assert 0.9 < precision < 1
    assert 0.8 < recall < 1
    assert 0.8 < per_person < 1
