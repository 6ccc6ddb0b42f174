"""What people change about the identity rules of a space. Each change leaves an audit entry."""

from django.db import transaction

from access.services import COMMAND, ActorLike, audit, create_space
from identity.rules.policy import Policy
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
