"""The eight steps of Segment's quickstart guide, by the console's public interfaces only."""

import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from quickstart import checks, making
from quickstart.checks import Identifiers, Key, Recorded, Resolved, Seen
from quickstart.client import Api, Json
from quickstart.feed import Feed, Wanted
from quickstart.figures import Counts, Membership, Profiles, Replayed, moment, ms
from quickstart.screen import Moved, Screen
from quickstart.truth import Members, score

STALLED_AFTER = 120.0  # seconds without any movement
LOOKS = 30  # at an audience, until nobody is just crossing the edge of a window and all is delivered
AGAIN = 1.0  # seconds between them: together longer than it takes to cross
ALIKE = 6  # looks in a row that show the same: nothing is under way any more
SAMPLE = 50  # people of a preview
POLL = 0.25
SENT = ("user_id", "email")  # the identifiers under which people are sent, unless anonymous ones are included
TIMELINE_PAGE, PROFILE_PAGE = 10_000, 1_000
TELLING = 6  # identifiers of a profile worth showing: neither bare nor a crowd


class Stalled(Exception):
    """Something that should go on does not; the message says what."""


@dataclass
class Steps:
    """One run. space: the one being worked in; sources: as the API shows them, in the feed's order."""

    api: Api
    screen: Screen
    feed: Feed
    sources: list[Json] = field(default_factory=list)
    _resolved: tuple[list[tuple[str, str, int]], set[Resolved]] | None = None

    # Steps 1 to 3

    def space(self, name: str, kind: str) -> Json:
        space = making.a_space(self.api, name + self.feed.suffix, kind)
        self.screen.good(f"{space['name']} is {space['id']}")
        return space

    def invite(self, space: Json) -> None:
        invite = making.an_invitation(self.api, space)
        roles = ", ".join(grant["role"] for grant in invite["grants"])
        self.screen.good(
            f"{invite['email']} is invited as {roles} of the space, and pending until {invite['expiresAt']}"
        )

    def make_sources(self) -> None:
        self.sources = [making.a_source(self.api, origin) for origin in self.feed.origins]
        for source in self.sources:
            self.screen.good(f"{source['name']} sends with write key {source['writeKeys'][0]}")

    def send(self) -> tuple[Counts, list[str]]:
        """All messages are in the archive, among its doubles or its rejects. With the faults of sending."""
        for note in self.feed.notes():
            self.screen.say(note)
        # A run that was interrupted may have left requests in the inbox: they must not count as this one's.
        with self.screen.progress("finishing what was sent before") as moved:
            self._archived(lambda tally: tally["waiting"] == 0, moved)
        before = self._tally()
        keys = {source["name"]: source["writeKeys"][0] for source in self.sources}
        with self.screen.progress("sending", self.feed.total) as moved:
            begun = time.monotonic()
            delivery = self.feed.send(self.api.address, keys, moved)
        rate = delivery.sent / max(time.monotonic() - begun, 0.001)
        self.screen.say(f"{delivery.sent:,} messages acknowledged, {rate:,.0f} a second")
        with self.screen.progress("archiving", delivery.sent) as moved:
            self._archived(
                lambda tally: tally["waiting"] == 0 and _fates(tally) - _fates(before) >= delivery.sent, moved
            )
        after = self._tally()
        done = {name: after[name] - before[name] for name in ("rejected", "doubled")}
        counts = Counts(delivery.sent, after["archived"], done["rejected"], done["doubled"], datetime.now(UTC))
        new = after["archived"] - before["archived"]
        self.screen.good(f"{new:,} newly archived, {counts.doubled:,} doubled, {counts.rejected:,} rejected")
        return counts, [f"the server refused a message: {why}" for _, why in delivery.refused[:5]]

    def _tally(self) -> dict[str, int]:
        """Of all our sources together."""
        tallies = [self.api.get(f"sources/{source['id']}")["source"]["tally"] for source in self.sources]
        return {name: sum(tally[name] for tally in tallies) for name in ("archived", "doubled", "rejected", "waiting")}

    def _archived(self, enough: Callable[[dict[str, int]], bool], moved: Moved | None = None) -> None:
        start = _fates(self._tally())

        def look() -> tuple[bool, object]:
            tally = self._tally()
            if moved:
                moved(_fates(tally) - start, note=f"{tally['waiting']:,} requests wait")
            return enough(tally), sorted(tally.items())

        _wait(look, "the archive takes nothing in")

    def replay(self, space: Json) -> Replayed:
        """The sources are connected, their last month is replayed, and the space is up to date."""
        fresh = making.connections(self.api, space, self.sources)
        if not fresh:
            self.screen.say("the sources are connected already")
        with self.screen.progress("replaying") as moved:
            _wait(lambda: self._look_at_replay(space, moved), "the replay does not go on")
        _wait(lambda: self._look_at_resolution(space), "the space does not catch up")
        replay = self._newest_replay(space)
        ended = moment(replay["finishedAt"])
        seconds = (ended - moment(replay["createdAt"])).total_seconds()
        replayed = Replayed(replay["done"], seconds, ended)
        self.screen.good(f"{replayed.events:,} events replayed in {seconds:.1f} s, {replayed.rate:,.0f} a second")
        return replayed

    def _newest_replay(self, space: Json) -> Json:
        return self.api.get(f"spaces/{space['id']}/replays")["replays"][0]

    def _look_at_replay(self, space: Json, moved: Moved) -> tuple[bool, object]:
        replay = self._newest_replay(space)
        left = replay.get("secondsLeft")
        at = (replay.get("eventTime") or "")[:16].replace("T", " ")
        note = f"{at}  {replay.get('eventsPerSecond') or 0:,.0f}/s" + (f"  {left:.0f} s left" if left else "")
        moved(replay["done"], total=replay["total"], note=note)
        return replay["state"] != "running", replay["done"]

    def _look_at_resolution(self, space: Json) -> tuple[bool, object]:
        now = self.api.get(f"spaces/{space['id']}/resolution")
        return not now["waiting"] and not now["replaying"], now["waiting"]

    # Step 4

    def check_profiles(self, space: Json) -> Profiles:
        """The console's profiles, held against a naive resolver fed in the order in which the console recorded."""
        as_of = moment(self.api.get(f"spaces/{space['id']}/resolution")["asOf"])
        recorded = self._timeline(space)
        identifiers = self._identifiers(space)
        # Every message that is young enough to have been replayed; and those that may be, being at the very edge.
        since = ms(moment(self._newest_replay(space)["since"]))
        sure: list[Key] = []
        perhaps: list[Key] = []
        for origin, message_id, earliest, latest in self.feed.dated():
            if latest >= since:
                (sure if earliest >= since else perhaps).append((origin, message_id))
        with self.screen.progress("resolving a second time, naively"):
            faults = checks.compare_timeline(recorded, sure, perhaps)
            console = checks.by_console(recorded, identifiers)
            # What the naive resolver was asked already, in the same order, it need not do again.
            order = [row[:2] + row[3:] for row in recorded]
            if self._resolved is None or self._resolved[0] != order:
                of_reference = checks.by_reference(recorded, lambda row: self.feed.message(row.message_id, row.at))
                self._resolved = order, of_reference
            reference = self._resolved[1]
        faults += checks.compare_profiles(console, reference)
        pairs = score(
            (row.profile, person) for row in recorded if (person := self.feed.person(row.message_id)) is not None
        )
        known = any(self.feed.person(row.message_id) is not None for row in recorded)
        if not faults:
            self.screen.good(f"{len(console):,} profiles, equal to the naive resolver's in identifiers and messages")
        self._show_one(space, identifiers, recorded)
        return Profiles(len(console), len(reference), pairs if known else None, as_of, faults)

    def _timeline(self, space: Json) -> list[Recorded]:
        names = {source["id"]: source["name"] for source in self.sources}
        rows: list[Recorded] = []
        with self.screen.progress("reading the timeline") as moved:
            for page in self.api.pages(f"spaces/{space['id']}/timeline", count=TIMELINE_PAGE):
                for row in page["timeline"]:
                    at = ms(moment(row["timestamp"]))
                    origin = names.get(row["sourceId"], row["sourceId"])
                    rows.append(Recorded(origin, row["messageId"], row["profileId"], at))
                moved(len(rows), total=page["pagination"].get("totalEntries") or len(rows))
        return rows

    def _identifiers(self, space: Json) -> dict[str, Identifiers]:
        identifiers: dict[str, Identifiers] = {}
        path = f"spaces/{space['id']}/profiles"
        with self.screen.progress("reading the profiles") as moved:
            for page in self.api.pages(path, count=PROFILE_PAGE, include="identifiers"):
                for profile in page["profiles"]:
                    identifiers[profile["id"]] = _pairs(profile["identifiers"])
                moved(len(identifiers), total=page["pagination"].get("totalEntries") or len(identifiers))
        return identifiers

    def _show_one(self, space: Json, identifiers: dict[str, Identifiers], recorded: list[Recorded]) -> None:
        """What step 4 of the guide asks for: look at somebody who was seen in several places."""
        if not identifiers:
            return
        events: defaultdict[str | None, list[Recorded]] = defaultdict(list)
        for row in recorded:
            events[row.profile].append(row)

        def telling(id: str) -> tuple[int, int]:
            return len({row.origin for row in events[id]}), -abs(len(identifiers[id]) - TELLING)

        id = max(sorted(identifiers), key=telling)
        profile = self.api.get(f"spaces/{space['id']}/profiles/{id}")["profile"]
        origins = ", ".join(sorted({row.origin for row in events[id]}))
        self.screen.say(f"for example {profile['name'] or id}: {len(events[id]):,} events from {origins},")
        values: defaultdict[str, list[str]] = defaultdict(list)
        for type, value in sorted(identifiers[id]):
            values[type].append(value)
        # Each type with its value, or with how many there are.
        by_type = (f"{type} {of[0] if len(of) == 1 else f'({len(of)})'}" for type, of in values.items())
        self.screen.say(f"known by {', '.join(by_type)}")

    # Steps 5 to 7

    def build(self, space: Json, wanted: Wanted) -> Json:
        """The audience is previewed, created and computed."""
        preview = self._preview(space, wanted)
        self.screen.say(f"{preview.get('sentence') or wanted.name} {preview['size']:,} people by preview")
        audience = making.an_audience(self.api, space, wanted.name, wanted.definition)
        with self.screen.progress("computing"):

            def look() -> tuple[bool, object]:
                now = self.api.get(f"spaces/{space['id']}/audiences/{audience['id']}")["audience"]
                return now["status"].lower() == "live", now["status"]

            _wait(look, f"“{wanted.name}” is not computed")
        self.screen.good(f"“{wanted.name}” is {audience['id']}, key {audience['key']}")
        return audience

    def subscribe(self, space: Json, audience: Json, catcher: Json) -> None:
        """The audience goes to the catcher, and all its members have been sent there."""
        making.a_subscription(self.api, space, audience, catcher)
        path = f"spaces/{space['id']}/audiences/{audience['id']}/destination-connections"
        with self.screen.progress(f"sending “{audience['name']}”") as moved:

            def look() -> tuple[bool, object]:
                here = [row for row in self.api.all(path, "subscriptions") if row["destinationId"] == catcher["id"]]
                moved(here[0]["acknowledged"], total=max(here[0]["desired"], 1))
                return here[0]["status"] == "in_step", here[0]["acknowledged"]

            _wait(look, f"{audience['name']} does not reach the catcher")
        self.screen.good(f"“{audience['name']}” goes to {catcher['name']}, which has acknowledged all of it")

    def validate(self, space: Json, wanted: Wanted, audience: Json, catcher: Json) -> Membership:
        """All four views of the audience, compared. It looks again while something is under way; what still
        disagrees in the end is a fault."""
        with self.screen.progress(f"comparing “{wanted.name}”") as moved:
            before, alike, agreed = None, 0, None
            for look in range(LOOKS):
                preview = self._preview(space, wanted)
                looked = _Looked(preview, moment(preview["asOf"]), *self._members(space, audience))
                # The catcher last: whoever it holds that was not a member a moment ago is on the way out.
                path = f"spaces/{space['id']}/destinations/{catcher['id']}/list"
                arrived = _pairs(list(self.api.all(path, "list", key=audience["key"])))
                seen = self._seen(wanted, looked, arrived)
                faults = checks.compare_audience(wanted.name, seen)
                alike = alike + 1 if seen == before else 0
                if seen.settled and (not faults or alike == ALIKE):
                    break
                before, agreed = seen, agreed if faults else (looked, seen)
                moved(0, note=f"looking again ({look + 1})")
                time.sleep(AGAIN)
            else:  # people came and went all the time; once all four agreed, or they never did
                if agreed:
                    (looked, seen), faults = agreed, []
        if not faults:
            self.screen.good(f"{len(seen.delivered):,} people arrived, exactly those of “{wanted.name}”")
        truth = None if seen.truth is None else len(seen.truth.sure)
        sizes = (seen.preview, looked.preview_as_of, len(seen.computed), truth, len(seen.delivered))
        return Membership(audience["id"], wanted.name, *sizes, looked.as_of, faults)

    def _preview(self, space: Json, wanted: Wanted) -> Json:
        path = f"spaces/{space['id']}/audiences/previews"
        return self.api.post(path, {"definition": wanted.definition, "sampleSize": SAMPLE})["preview"]

    def _seen(self, wanted: Wanted, looked: "_Looked", arrived: Identifiers) -> Seen:
        def truth(at: datetime) -> Members | None:
            return wanted.truth(ms(at)) if wanted.truth else None

        ids = frozenset(pair for member in looked.members for pair in _pairs(member["identifiers"]))
        return Seen(
            looked.preview["size"],
            frozenset(_user_id(person) for person in looked.preview["sample"]),
            truth(looked.preview_as_of),
            frozenset(_user_id(member) for member in looked.members),
            truth(looked.as_of),
            frozenset(value for type, value in arrived if type == "user_id"),
            known=frozenset(pair for pair in ids if pair[0] in SENT),
            arrived=arrived,
            lately=truth(looked.preview_as_of - timedelta(seconds=checks.LATE_S)),
        )

    def _members(self, space: Json, audience: Json) -> tuple[list[Json], datetime]:
        """The members with their identifiers, all read at one moment."""
        path = f"spaces/{space['id']}/audiences/{audience['id']}/members"
        while True:
            pages = list(self.api.pages(path, count=PROFILE_PAGE, include="identifiers"))
            if len({page["tick"] for page in pages}) == 1:
                return [member for page in pages for member in page["members"]], moment(pages[-1]["asOf"])

    # Step 8

    def strangers_at(self, space: Json, catcher: Json) -> list[str]:
        """Faults: what the catcher of this space received from elsewhere."""
        rows = list(self.api.all(f"spaces/{space['id']}/destinations/{catcher['id']}/caught", "caught"))
        senders = [((row["body"].get("context") or {}).get("personas") or {}).get("space_id") for row in rows]
        others = {sender for sender in senders if sender not in (space["id"], None)}
        if not others:
            self.screen.good(f"of {len(rows):,} calls that {space['name']}'s catcher received, none is another space's")
        return [f"the catcher received calls of {other}" for other in sorted(map(str, others))]


class _Looked(NamedTuple):
    """What the console says of an audience: by preview, and by compute."""

    preview: Json
    preview_as_of: datetime
    members: list[Json]
    as_of: datetime


def _wait(look: Callable[[], tuple[bool, object]], complaint: str) -> None:
    """Until `look` says it is done. Raises Stalled when its second value has not changed for too long."""
    mark, since = None, time.monotonic()
    while True:
        done, seen = look()
        if done:
            return
        now = time.monotonic()
        if seen != mark:
            mark, since = seen, now
        if now - since > STALLED_AFTER:
            raise Stalled(f"{complaint}: nothing has moved for {STALLED_AFTER:.0f} s ({seen})")
        time.sleep(POLL)


def _fates(tally: dict[str, int]) -> int:
    return tally["archived"] + tally["doubled"] + tally["rejected"]


def _pairs(identifiers: Sequence[Json]) -> Identifiers:
    return frozenset((pair["type"], pair["value"]) for pair in identifiers)


def _user_id(member: Json) -> str:
    """A member as the data knows him; one without a user id is a stranger to it, and is named as such."""
    ids = sorted(value for type, value in _pairs(member["identifiers"]) if type == "user_id")
    return ids[0] if ids else f"profile {member['profileId']}"
