"""Many rows of every kind: the newest row of each table, copied. New tables take part by themselves."""

import secrets
from collections.abc import Iterable
from typing import Any

from django.apps import apps
from django.db import models

from access.models import Invitation, User
from spaces.models import Abandoned, Batch, Log, Replaced, Workspace

LINE = {Log, Batch, Abandoned, Replaced}  # what the stages keep for themselves; no page lists it
Model = type[models.Model]


def multiply(copies: int) -> None:
    """Every table that can have many rows has so many more beside the row that they are copied from, and at least one
    for each copy of what that row belongs to."""
    made: dict[Model, list[Any]] = {}
    for model in _in_order(model for model in apps.get_models() if _many(model)):
        if original := model._default_manager.order_by("-pk").first():
            parents = max((len(made[parent]) for parent in _parents(model) if parent in made), default=0)
            rows = [_copy(original, number, made, below=False) for number in range(copies)]
            rows += [_copy(original, number, made, below=True) for number in range(parents)]
            made[model] = list({_key(row): row for row in rows}.values())
            model._default_manager.bulk_create(made[model])
            if model._meta.proxy:  # others refer to its rows as to those of the model behind it
                made.setdefault(model._meta.concrete_model, []).extend(made[model])
    Invitation.objects.update(accepted_at=None)


def _many(model: Model) -> bool:
    """Of a workspace, or a person; not one to one with something else."""
    if model is User:
        return True
    fields = {field.name for field in model._meta.fields}
    alone = isinstance(model._meta.pk, models.OneToOneField)
    return "workspace" in fields and not alone and model not in LINE


def _in_order(models_: Iterable[Model]) -> list[Model]:
    """Those that others refer to come first."""
    left, ordered = list(models_), []
    while left:
        ready = [model for model in left if not (_parents(model) - {model}) & set(left)]
        ordered += ready or left[:1]
        left = [model for model in left if model not in ordered]
    return ordered


def _parents(model: Model) -> set[Model]:
    parents = {field.related_model for field in model._meta.fields if field.is_relation and not field.null}
    return parents | {
        proxy for proxy in apps.get_models() if proxy._meta.proxy and proxy._meta.concrete_model in parents
    }


def _copy(original: Any, number: int, made: dict[Model, list[Any]], *, below: bool) -> Any:
    copy = type(original)()
    for field in original._meta.fields:
        if field.primary_key:
            continue
        value = getattr(original, field.attname)
        copies = made.get(field.related_model) if field.is_relation else None
        if copies and value is not None and (below or _only_relations(original, field)):
            value = copies[number % len(copies)].pk
        elif not field.is_relation and field.name in _told_apart(original):
            value = _another(field, value, number)
        setattr(copy, field.attname, value)
    return copy


def _uniques(original: Any) -> list[list[Any]]:
    """The fields of each thing that must be unique."""
    meta = original._meta
    alone = [[field] for field in meta.fields if field.unique and not field.primary_key]
    constraints = meta.concrete_model._meta.constraints  # a proxy has none of its own
    named = [each.fields for each in constraints if isinstance(each, models.UniqueConstraint)]
    return alone + [[meta.get_field(name) for name in names] for names in (*named, *meta.unique_together)]


def _only_relations(original: Any, field: Any) -> bool:
    """Whether it must be told apart by what it belongs to: by the last relation that is not the workspace or space."""
    for fields in _uniques(original):
        if all(each.is_relation for each in fields) and fields[-1] is field and field.related_model is not Workspace:
            return True
    return False


def _key(row: Any) -> tuple[Any, ...]:
    """What it is told apart by."""
    return tuple(getattr(row, each.attname) for fields in _uniques(row) for each in fields) or (id(row),)


def _told_apart(original: Any) -> set[str]:
    """Of each unique set the last field that can be anything."""
    free = [[each.name for each in fields if not (each.is_relation or each.choices)] for fields in _uniques(original)]
    return {names[-1] for names in free if names}


def _another(field: Any, value: Any, number: int) -> Any:
    if isinstance(field, models.BinaryField):
        return secrets.token_bytes(len(bytes(value)))
    if isinstance(field, models.IntegerField):
        return (value or 0) + 1 + number + 100_000 * secrets.randbelow(10_000)
    if isinstance(field, models.EmailField):
        return f"{secrets.token_hex(6)}@example.com"
    return f"{str(value)[:24]}-{secrets.token_hex(6)}"
