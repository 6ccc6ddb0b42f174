"""The versions of an audience or a computed trait: what each asked for, and what that changed."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import QuerySet

from audiences.models import Audience, Version
from audiences.overview import sentence_of
from audiences.rules.difference import TextPart, by_lines, by_words

LARGEST_NUMBER = 2**31 - 1


@dataclass(frozen=True)
class VersionDetails:
    """A version in words. changes: against the one before it; of the sentence, else of the definition as JSON.

    are_lines: they are of the definition. is_first: there is none before it. is_newest: it serves, or is to.
    """

    version: Version
    sentence: str
    changes: Sequence[TextPart]
    are_lines: bool
    is_first: bool
    is_newest: bool
    is_serving: bool

    @property
    def joint(self) -> str:
        """What stands between two parts."""
        return "\n" if self.are_lines else " "


def versions_of(audience: Audience) -> QuerySet[Version]:
    """All of them, without their members."""
    return Version.objects.filter(audience=audience).select_related("audience").defer("snapshot", "computed")


def version_of(audience: Audience, number: str) -> Version | None:
    """The one with this number, which somebody wrote."""
    # Anything may stand in an address; a number beyond integer would be an error of the database.
    if not number.isascii() or not number.isdecimal() or len(number) > 10 or int(number) > LARGEST_NUMBER:
        return None
    return versions_of(audience).filter(number=int(number)).first()


def newest_number(audience: Audience) -> int:
    return versions_of(audience).order_by("-number").values_list("number", flat=True)[0]


def described(audience: Audience, versions: Sequence[Version]) -> list[VersionDetails]:
    """Some versions in a row, newest first, each compared with the one before it."""
    if not versions:
        return []
    older = versions_of(audience).filter(number__lt=versions[-1].number).order_by("-number").first()
    newest = newest_number(audience)
    details = []
    for version, before in zip(versions, [*versions[1:], older], strict=True):
        sentence = sentence_of(audience, version.definition)
        words = by_words(sentence_of(audience, before.definition), sentence) if before else []
        # What the sentence does not tell apart, such as a definition that nobody can read, is told as lines of JSON.
        lines = by_lines(_lines(before.definition), _lines(version.definition)) if before and not words else []
        details.append(
            VersionDetails(
                version,
                sentence,
                words or lines,
                are_lines=bool(lines),
                is_first=before is None,
                is_newest=version.number == newest,
                is_serving=version.pk == audience.serving_id,
            )
        )
    return details


def _lines(definition: Any) -> str:
    return json.dumps(definition, indent=2, sort_keys=True, ensure_ascii=False)
