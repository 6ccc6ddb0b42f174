"""What people change about the identity rules of a space, and about who is one person. Each leaves an audit entry."""

from collections.abc import Collection
from typing import Any

from django.db import transaction
from django.utils import timezone

from access.services import COMMAND, ActorLike, NotPossible, actor_of, audit, create_space
from identity import queries, splits
from identity.models import DryRun, Graph, Profile, ProfileNote, ProfileSplit
from identity.rules.policy import Identifier, Policy, policy_of
from spaces import personal
from spaces.models import Space, Workspace


def change_policy(space: Space, policy: Policy | None, *, by: ActorLike = COMMAND) -> None:
    """The space resolves by these rules from its next batch on; None = by the default ones.

    What was resolved before stays: loosening is safe, tightening leaves older profiles outside the rules.
    """
    with transaction.atomic():
        # Locked, so that of two people who save at once the audit trail has what each of them found.
        locked = Space.objects.select_for_update(no_key=True).get(pk=space.pk)
        before, after = locked.identity_policy, policy and policy.to_json()
        Space.objects.filter(pk=space.pk).update(identity_policy=after)
        # Whoever is not resolved once more yet would be so by neither these rules nor those.
        DryRun.objects.filter(space=space, state__in=(DryRun.State.APPLYING, DryRun.State.MOVING)).update(
            state=DryRun.State.STOPPED, error="The rules were changed meanwhile.", finished_at=timezone.now()
        )
        audit(by, "space.identity_rules_changed", space, before=before, after=after)
    space.identity_policy = after


def create_space_with_rules(
    workspace: Workspace, *, name: str, kind: str, policy: Policy | None, by: ActorLike
) -> Space:
    """A new space that resolves by these rules from its first event on; None = by the default ones."""
    with transaction.atomic():
        space = create_space(workspace, name=name, kind=kind, by=by)
        if policy is not None:
            change_policy(space, policy, by=by)
    return space


def try_rules(space: Space, policy: Policy | None, *, by: ActorLike = COMMAND) -> DryRun:
    """What other rules would come to is being worked out; None = the default ones. Raises NotPossible."""
    with transaction.atomic():
        locked = Space.objects.select_for_update(no_key=True).get(pk=space.pk)
        if DryRun.objects.filter(space=space, state__in=DryRun.UNDER_WAY).exists():
            raise NotPossible("Other rules are being worked out or applied: wait for them, or cancel that first.")
        dry_run = DryRun.objects.create(
            workspace_id=space.workspace_id,
            space=space,
            policy=policy and policy.to_json(),
            before=locked.identity_policy,
            created_by=actor_of(by).user,
        )
        audit(by, "space.identity_rules_tried", space, dry_run=dry_run.public_id)
    return dry_run


def apply_rules(dry_run: DryRun, *, by: ActorLike = COMMAND) -> None:
    """The space has the rules that were tried, and whoever would be others by them is resolved once more.

    One that stopped goes on. Raises NotPossible.
    """
    with transaction.atomic():
        # In this order, as whoever changes the rules does.
        space = Space.objects.select_for_update(no_key=True).get(pk=dry_run.space_id)
        locked = DryRun.objects.select_for_update().get(pk=dry_run.pk)
        if locked.state not in (DryRun.State.DONE, DryRun.State.STOPPED):
            raise NotPossible("Only rules whose dry run is done can be applied.")
        if DryRun.objects.filter(space=space, state__in=DryRun.UNDER_WAY).exists():
            raise NotPossible("Other rules are being worked out or applied: wait for them, or cancel that first.")
        if space.identity_policy != (locked.before if locked.state == DryRun.State.DONE else locked.policy):
            raise NotPossible("The rules of the space have changed since: try these once more.")
        if locked.result.get("whyNot"):
            raise NotPossible(f"{locked.result['whyNot']} That is too much to be resolved once more in parts.")
        policy = None if locked.policy is None else Policy.from_json(locked.policy)
        if space.identity_policy != locked.policy:
            change_policy(space, policy, by=by)
        # From here on the people themselves show what came of it, and whoever is erased has to be found there alone.
        nobody: dict[str, Any] = {"samples": [], "named": [], "error": "", "finished_at": None}
        DryRun.objects.filter(pk=locked.pk).update(state=DryRun.State.APPLYING, done=0, **nobody)
        audit(by, "space.identity_rules_applied", space, dry_run=locked.public_id)
    dry_run.refresh_from_db()


def stop_dry_run(dry_run: DryRun, *, by: ActorLike = COMMAND) -> None:
    """It is not worked out any more; of rules that are being applied, the rest of the people stay as they are.

    Raises NotPossible.
    """
    state = DryRun.State
    with transaction.atomic():
        own = DryRun.objects.filter(pk=dry_run.pk)
        ended: dict[str, Any] = {"finished_at": timezone.now()}
        stopped = own.filter(state__in=(state.WAITING, state.RUNNING)).update(state=state.CANCELLED, **ended)
        stopped += own.filter(state__in=(state.APPLYING, state.MOVING)).update(
            state=state.STOPPED, error="It was stopped by hand.", **ended
        )
        if not stopped:
            raise NotPossible("It is over already.")
        audit(by, "space.identity_rules_stopped", dry_run.space, dry_run=dry_run.public_id)
    dry_run.refresh_from_db()


def split(
    profile: Profile, taken: Collection[Identifier], *, to: Profile | None = None, by: ActorLike = COMMAND
) -> ProfileSplit:
    """These identifiers of the profile are somebody else's than the rest, from a next batch of resolve on.

    to: whose they are instead; None = what the rules make of them. Raises NotPossible.
    """
    if to:
        resolve_with(profile, taken, to)  # while somebody is there who can be told that the rules do not let them
    with transaction.atomic():
        wish = wanted_split(profile, taken, to)
        wish.created_by = actor_of(by).user
        wish.save()
        # Without the identifiers: whoever reads the audit trail need not be one who may see personal data.
        detail = {"split": wish.public_id, "taken": len(wish.taken), "left": len(wish.left)}
        if to:
            audit(by, "profile.identifiers_moved", profile, to=to.public_id, **detail)
        else:
            audit(by, "profile.split", profile, **detail)
    return wish


def write_note(profile: Profile, *, label: str, text: str, by: ActorLike = COMMAND) -> None:
    """The team reads this on the profile; blank = nothing any more."""
    numbers = queries.all_numbers(profile.space, [profile.number])
    with transaction.atomic():
        # What was written of a profile that was merged into this one is a part of what is replaced.
        ProfileNote.objects.filter(space=profile.space_id, number__in=[*numbers]).delete()
        if label or text:
            ProfileNote.objects.create(
                workspace_id=profile.workspace_id,
                space=profile.space,
                number=profile.number,
                label=label,
                text=text,
                changed_by=actor_of(by).user,
            )
        # Without the words: whoever reads the audit trail need not be one who may see personal data.
        audit(by, "profile.note_written", profile)


def undo_split(wish: ProfileSplit, *, by: ActorLike = COMMAND) -> None:
    """Both sides may be one person again. Raises NotPossible when it is not done, or is undone already."""
    with transaction.atomic():
        # In the statement itself: of two who click at once the second is told.
        done = ProfileSplit.objects.filter(pk=wish.pk, state=ProfileSplit.State.DONE)
        if not done.update(state=ProfileSplit.State.UNWANTED, error=""):
            raise NotPossible("Only a split that is done can be undone.")
        profile = Profile.objects.get(space=wish.space_id, number=wish.profile)
        audit(by, "profile.split_undone", profile, split=wish.public_id)
    wish.refresh_from_db()


def resolve_with(profile: Profile, taken: Collection[Identifier], to: Profile | None = None) -> splits.Resolved:
    """What would become of everybody concerned by the split, or the move. Changes nothing. Raises NotPossible."""
    wish = wanted_split(profile, taken, to)
    try:
        # Numbers as they will be: the lots of random splits are drawn by them.
        last = Graph.objects.filter(space=profile.space_id).values_list("last_profile", "last_identifier").get()
        again = splits.resolve_again(splits.component(wish), *last)
    except splits.TooMuch as error:
        raise NotPossible(f"{error} That is too much to be resolved once more at a time.") from error
    if to:
        ((home_type, home_value),) = wish.moved_to
        home = again.graph.holder.get((home_type, home_value))
        for type, value in taken:
            if home is None or again.graph.holder.get((type, value)) is not home:
                why = again.graph.not_moved.get((type, value), "nothing that came says who they are")
                raise NotPossible(f"{type} {personal.value(type, value)} cannot be theirs: {why}.")
    return again


def came_with(profile: Profile, merged: Profile) -> list[Identifier]:
    """The identifiers that a profile brought when it was merged into this one. Raises NotPossible."""
    try:
        own = {(row.type, row.value) for row in queries.identifiers_in_order(profile)}
        brought = [identifier for identifier in splits.came_with(profile, merged.number) if identifier in own]
    except splits.TooMuch as error:
        raise NotPossible(f"{error} That is too much to be resolved once more at a time.") from error
    if not brought:
        raise NotPossible("The event that merged them is not kept any more: choose the identifiers yourself.")
    return brought


def wanted_split(profile: Profile, taken: Collection[Identifier], to: Profile | None = None) -> ProfileSplit:
    """The split, or the move, not saved. Raises NotPossible."""
    if profile.kind != Profile.Kind.USER:
        raise NotPossible("An account has one identifier: there is nothing to be split.")
    # By what is held now: two people may be looking at pages of different age.
    own = [(row.type, row.value) for row in queries.identifiers_in_order(profile)]
    unknown = [f"{type} {value}" for type, value in taken if (type, value) not in own]
    if unknown:
        raise NotPossible(f"{unknown[0]} is no identifier of this profile.")
    left = [identifier for identifier in own if identifier not in taken]
    if not taken or not (left or to):
        raise NotPossible("Choose one identifier at least, and leave one.")
    home: list[Identifier] = []
    if to:
        if to.number == profile.number or to.kind != Profile.Kind.USER:
            raise NotPossible("Choose another person to whom they are moved.")
        theirs = ((row.type, row.value) for row in queries.identifiers_in_order(to))
        # By the one that is trusted most: the others may be split from it one day.
        first = min(theirs, key=policy_of(profile.space.identity_policy).priority, default=None)
        if first is None:
            raise NotPossible("Nothing is known by which others could be theirs.")
        home = [first]
    return ProfileSplit(
        workspace_id=profile.workspace_id,
        space=profile.space,
        profile=profile.number,
        taken=list(taken),
        left=left,
        moved_to=home,
    )
