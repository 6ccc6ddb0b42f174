"""What a dry run says, ready to be shown: whose numbers those are that it kept. Reads only."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from identity.dry_runs import SHOWN_IDENTIFIERS
from identity.models import DryRun, Identifier, Profile
from identity.queries import public_ids
from identity.rules.policy import policy_of
from identity.rules.policy_changes import policy_changes


@dataclass(frozen=True)
class SampledProfile:
    """One of today, or one that there would be. more: identifiers that are not named. of: ids of those of today whose
    identifiers it has, itself for one of today."""

    identifiers: Sequence[tuple[str, str]]
    more: int
    events: int | None
    of: Sequence[str]


@dataclass(frozen=True)
class SampledChange:
    """Some people who would be others. more_now, more_after: profiles that are not shown."""

    now: Sequence[SampledProfile]
    after: Sequence[SampledProfile]
    more_now: int
    more_after: int


@dataclass(frozen=True)
class LargeProfile:
    """A profile that there would be. profiles: of how many of today; of: the ids of the first of these."""

    identifiers: int
    events: int
    profiles: int
    of: Sequence[str]


def changes_of(dry_run: DryRun) -> list[str]:
    """What the rules that were tried change of those that the space had."""
    return policy_changes(policy_of(dry_run.before), policy_of(dry_run.policy))


def percent(dry_run: DryRun) -> int:
    """How much of what is under way is done."""
    if dry_run.state == DryRun.State.MOVING:
        return 100 * dry_run.parts_done // max(dry_run.parts_total, 1)
    return min(100 * dry_run.done // max(dry_run.total, 1), 100)


def samples_of(dry_run: DryRun) -> list[SampledChange]:
    """People who would be others. Whoever is no more since is missing."""
    samples: list[dict[str, Any]] = dry_run.samples
    now = {number for sample in samples for number in sample["now"]}
    ids = public_ids(dry_run.space, now | {n for sample in samples for after in sample["after"] for n in after["of"]})
    holds: defaultdict[int, list[tuple[str, str]]] = defaultdict(list)
    rows = Identifier.objects.filter(space=dry_run.space, profile__in=now).order_by("number")
    for profile, type, value in rows.values_list("profile", "type", "value"):
        holds[profile].append((type, value))
    return [
        SampledChange(
            now=[
                SampledProfile(
                    holds[number][:SHOWN_IDENTIFIERS],
                    max(len(holds[number]) - SHOWN_IDENTIFIERS, 0),
                    None,
                    [ids[number]],
                )
                for number in sample["now"]
                if number in ids
            ],
            after=[
                SampledProfile(
                    [(type, value) for type, value in after["identifiers"]],
                    after["more"],
                    after["events"],
                    [ids[number] for number in after["of"] if number in ids],
                )
                for after in sample["after"]
            ],
            more_now=sample["moreNow"],
            more_after=sample["moreAfter"],
        )
        for sample in samples
    ]


def largest_of(dry_run: DryRun) -> list[LargeProfile]:
    """The profiles that would have most identifiers."""
    rows: list[dict[str, Any]] = dry_run.result.get("largest", [])
    known = Profile.objects.filter(space=dry_run.space, number__in={number for row in rows for number in row["of"]})
    ids = public_ids(dry_run.space, known.values_list("number", flat=True))
    return [
        LargeProfile(
            row["identifiers"], row["events"], row["profiles"], [ids[number] for number in row["of"] if number in ids]
        )
        for row in rows
    ]
