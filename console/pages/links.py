"""Addresses of pages by what one wants to do there."""

from collections.abc import Iterable

from django.urls import NoReverseMatch, resolve, reverse

from access.gate import need_of
from access.models import Membership
from spaces.models import Space


def nearest(member: Membership, names: Iterable[str], space: Space | None = None, ids: Iterable[str] = ()) -> str:
    """The address of the first of these pages that exists and that this person may open; "" when there is none.

    Each page is asked for as one of the thing with these ids, of the space, and of the workspace.
    """
    slugs = [member.workspace.slug, *([space.slug] if space else [])]
    for name in names:
        for args in ([*slugs, *ids], slugs, slugs[:1]):
            if all(args) and (address := _reversed(name, args)) and _opens(member, address, space):
                return address
    return ""


def _reversed(name: str, args: list[str]) -> str:
    try:
        return reverse(name, args=args)
    except NoReverseMatch:
        return ""


def _opens(member: Membership, address: str, space: Space | None) -> bool:
    return member.may(need_of(resolve(address).func, "GET"), space)
