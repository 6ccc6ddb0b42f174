"""The suppressed of a workspace: what their identifiers send is counted and dropped before it is archived.

Identifiers are kept as hashes with a key of the workspace, which is sealed: the list tells nobody who is on it, and
two workspaces cannot compare theirs.
"""

import secrets
from collections.abc import Iterable, Sequence
from datetime import datetime

from django.db import transaction

from sources.models import Suppression, SuppressionKey
from sources.rules.suppression import Identifier, hashed, identifiers_in
from spaces.secrets import open_sealed, seal

AT_ONCE = 5_000


def suppress(workspace_id: int, identifiers: Iterable[Identifier], *, now: datetime) -> None:
    """From the next batch of each source on, messages that carry one of these are dropped."""
    wanted = list(identifiers)
    with transaction.atomic():
        key, _ = SuppressionKey.objects.select_for_update().get_or_create(
            workspace_id=workspace_id, defaults={"sealed": seal(secrets.token_hex(32))}
        )
        secret = bytes.fromhex(open_sealed(key.sealed))
        key.types = sorted({*key.types, *(type for type, _ in wanted)})
        key.save(update_fields=["types"])
        Suppression.objects.bulk_create(
            (
                Suppression(workspace_id=workspace_id, type=type, hash=hashed(secret, type, value), since=now)
                for type, value in wanted
            ),
            ignore_conflicts=True,
            batch_size=AT_ONCE,
        )


def unsuppress(workspace_id: int, identifiers: Iterable[Identifier]) -> int:
    """Messages that carry these are taken again. Returns how many were suppressed; what was dropped stays lost."""
    hashes = _hashes(workspace_id, list(identifiers))
    return Suppression.objects.filter(workspace=workspace_id, hash__in=hashes).delete()[0] if hashes else 0


def suppressed(workspace_id: int, identifiers: Sequence[Identifier]) -> list[bool]:
    """Of each whether it is suppressed."""
    hashes = _hashes(workspace_id, identifiers)
    kept = _kept(workspace_id, hashes)
    return [hash in kept for hash in hashes] if hashes else [False] * len(identifiers)


def suppressed_messages(workspace_id: int, texts: Sequence[str | bytes]) -> set[int]:
    """Which of these messages, by their places, carry an identifier that is suppressed.

    Where nobody is, it costs one look-up for all of them.
    """
    key = SuppressionKey.objects.filter(workspace=workspace_id).first()
    if key is None:
        return set()
    secret = bytes.fromhex(open_sealed(key.sealed))
    by_message = [{hashed(secret, type, value) for type, value in identifiers_in(text, key.types)} for text in texts]
    kept = _kept(workspace_id, set().union(*by_message))
    return {place for place, hashes in enumerate(by_message) if not kept.isdisjoint(hashes)}


def _hashes(workspace_id: int, identifiers: Sequence[Identifier]) -> list[bytes]:
    """[] while nobody was ever suppressed in the workspace."""
    key = SuppressionKey.objects.filter(workspace=workspace_id).first()
    if key is None:
        return []
    secret = bytes.fromhex(open_sealed(key.sealed))
    return [hashed(secret, type, value) for type, value in identifiers]


def _kept(workspace_id: int, hashes: Iterable[bytes]) -> set[bytes]:
    rows = Suppression.objects.filter(workspace=workspace_id, hash__in=[*hashes])
    return {bytes(hash) for hash in rows.values_list("hash", flat=True)}
