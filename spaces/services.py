"""Making workspaces and spaces. Who may do so is not this layer's matter."""

import secrets

from django.db import IntegrityError, models, transaction
from django.utils.text import slugify

from spaces import deletions
from spaces.models import Deletion, Log, Space, Workspace
from spaces.text import latin

RESERVED = {"new", "settings", "s", "api", "sources", "spaces", "access"}  # words of our own addresses
TRIES = 5


def create_workspace(name: str) -> Workspace:
    """A workspace whose slug is taken from its name, and never changes."""
    for slug in _slugs(name, Workspace.objects.all(), "workspace"):
        try:
            with transaction.atomic():
                return Workspace.objects.create(name=name, slug=slug)
        except IntegrityError:  # somebody else took the slug between the look and the insert
            continue
    raise RuntimeError(f"no free slug for {name!r}")


def create_space(workspace: Workspace, *, name: str, kind: str = Space.Kind.DEV) -> Space:
    """A space whose slug is taken from its name, and never changes."""
    for slug in _slugs(name, Space.objects.filter(workspace=workspace), "space"):
        try:
            with transaction.atomic():
                return Space.objects.create(workspace=workspace, name=name, slug=slug, kind=kind)
        except IntegrityError:
            continue
    raise RuntimeError(f"no free slug for {name!r}")


def delete_space(space: Space) -> None:
    """The space is out of sight, and everything in it is going to be erased. Its number is never used again."""
    with transaction.atomic():
        Log.objects.filter(workspace=space.workspace_id, stage__in=("resolve", "evaluate"), partition=space.pk).delete()
        deletions.hide(space)
        deletions.begin(space, Deletion.TargetKind.SPACE, name=space.name)


def free_slug(name: str, rows: "models.QuerySet[models.Model, models.Model]", otherwise: str) -> str:
    """A slug for `name` that none of `rows` has: `shop`, `shop-2`, …; `otherwise` when nothing of the name is left."""
    stem = slugify(latin(name))[:50].strip("-") or otherwise
    stem = f"{stem}-1" if stem in RESERVED else stem
    taken = set(rows.filter(slug__startswith=stem).values_list("slug", flat=True))
    return next(slug for n in range(1, len(taken) + 2) if (slug := stem if n == 1 else f"{stem}-{n}") not in taken)


def _slugs(name: str, rows: "models.QuerySet[models.Model, models.Model]", otherwise: str) -> list[str]:
    """The free slug as of now, then ones nobody else is likely to choose at this moment."""
    slug = free_slug(name, rows, otherwise)
    return [slug, *(f"{slug}-{secrets.token_hex(2)}" for _ in range(TRIES))]
