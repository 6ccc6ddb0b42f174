"""Audiences that are being described: kept while somebody writes, and turned into audiences at the end."""

from typing import Any

from django.db import transaction
from django.db.models import QuerySet

from access.services import ActorLike, actor_of
from audiences import services
from audiences.models import Audience, Draft
from audiences.rules import draft_form, grammar
from audiences.rules.starting_points import StartingPoint
from audiences.rules.validation import DefinitionError
from audiences.value_types import typed, untyped
from spaces.clock import clock
from spaces.models import Space

UNTITLED = "Untitled audience"


def begin(space: Space, by: ActorLike, start: StartingPoint | None = None, *, of: str = grammar.USERS) -> Draft:
    """A new draft, with one blank condition or with that of a starting point. of: whom it is about."""
    sketch = untyped(space, draft_form.of_definition(start.definition)) if start else draft_form.blank()
    name = start.name if start else ""
    return Draft.objects.create(
        workspace_id=space.workspace_id, space=space, author=actor_of(by).user, sketch=sketch, name=name, of=of
    )


def begin_copy(audience: Audience, by: ActorLike) -> Draft:
    """A new draft with the newest definition of an audience, its description and options. Raises DefinitionError."""
    newest = audience.versions.defer("snapshot", "computed").order_by("-number")[0]
    return Draft.objects.create(
        workspace_id=audience.workspace_id,
        space=audience.space,
        author=actor_of(by).user,
        sketch=untyped(audience.space, draft_form.of_definition(newest.definition)),
        of=audience.of,
        # Not its subscriptions: a copy is sent nowhere until somebody says so.
        name=services.copy_name(audience),
        description=audience.description,
        labels=audience.labels,
        folder=audience.folder,
        cases=audience.cases,
        include_anonymous=audience.include_anonymous,
        include_historical=audience.events_since is None,
    )


def draft_of(space: Space, public_id: str) -> Draft | None:
    """The space's draft with this id, whoever began it: the members of a space write together."""
    return Draft.objects.filter(space=space, public_id=public_id).select_related("space").first()


def keep(draft: Draft, **fields: Any) -> None:
    """The draft has these fields, such as `sketch`, `name` and `destinations`."""
    for field, value in fields.items():
        setattr(draft, field, value)
    draft.save(update_fields=[*fields, "updated_at"])


def definition_of(draft: Draft) -> Any:
    """The JSON that its tree means. Raises DefinitionError while it means nothing."""
    return draft_form.definition(typed(draft.space, draft_form.of_stored(draft.sketch)))


def sentence_of(draft: Draft, *, as_sent: bool = True) -> str:
    """The sentence that it means; "" while it means nothing.

    as_sent: values are of the type that was sent, for which ClickHouse is asked; else of that which they read as.
    """
    try:
        node = grammar.parse(
            definition_of(draft) if as_sent else draft_form.definition(draft_form.of_stored(draft.sketch))
        )
    except DefinitionError:
        return ""
    return grammar.sentence(node, of=draft.of, include_anonymous=draft.include_anonymous)


def finish(draft: Draft, by: ActorLike, *, key: str | None = None) -> Audience:
    """The audience that it describes exists, and the draft is gone. Raises DefinitionError, KeyRefused.

    key: the audience's; by default it is made of its name.
    """
    with transaction.atomic():
        audience = services.create_audience(
            draft.space,
            name=draft.name.strip() or UNTITLED,
            # Worked out once more: the types of values are those that were sent up to now.
            definition=definition_of(draft),
            of=draft.of,
            key=key,
            description=draft.description,
            labels=draft.labels,
            folder=draft.folder,
            cases=draft.cases,
            include_anonymous=draft.include_anonymous,
            # From its creation on, not from when somebody began to write.
            events_since=None if draft.include_historical else clock.now(),
            by=by,
        )
        draft.delete()
    return audience


def drafts_of(space: Space) -> "QuerySet[Draft]":
    """Those that somebody left, the newest first."""
    return Draft.objects.filter(space=space).select_related("author").order_by("-updated_at", "-pk")


def discard(draft: Draft) -> None:
    """The draft is gone. Nothing was made of it, so there is nothing to audit."""
    draft.delete()
