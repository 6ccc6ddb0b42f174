"""Deleting: what is deleted is out of sight at once; a job erases it from every store (personas_site.erasure)."""

from typing import Any

from django.utils import timezone

from spaces.models import Deletion


def begin(thing: Any, kind: str, *, name: str) -> Deletion:
    """`thing` is to be erased, once, however often it was asked for. In the transaction that puts it out of sight."""
    known = {"workspace_id": thing.workspace_id, "target_id": thing.public_id, "name": name[:200]}
    return Deletion.objects.get_or_create(kind=kind, target=thing.pk, defaults=known)[0]


def hide(thing: Any) -> None:
    """It is out of sight, and its name in addresses is free again."""
    thing.deleted_at = timezone.now()
    fields = ["deleted_at"]
    if hasattr(thing, "slug"):
        thing.slug = f"deleted-{thing.pk}"
        fields.append("slug")
    thing.save(update_fields=fields)
