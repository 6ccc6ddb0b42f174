"""URLs of the pages on which a member can do something."""

from collections.abc import Iterable

from django.urls import NoReverseMatch, resolve, reverse

from access.gate import need_of
from access.models import Membership
from spaces.models import Space


def first_page(member: Membership, names: Iterable[str], space: Space | None = None, ids: Iterable[str] = ()) -> str:
    """The URL of the first of these pages that exists and that the member may open; "" when there is none.

    names: URL names, best first. Each is tried as a page about the things with these ids, then as a page of the
    space, then of the workspace.
    """
    slugs = [member.workspace.slug, *([space.slug] if space else [])]
    for name in names:
        for args in ([*slugs, *ids], slugs, slugs[:1]):
            # The id of a thing that does not exist yet is "": there is no page about it.
            if not all(args):
                continue
            try:
                url = reverse(name, args=args)
            except NoReverseMatch:
                continue
            # The same permission that the gate will ask for, so that no link leads to a refusal.
            if member.may(need_of(resolve(url).func, "GET"), space):
                return url
    return ""
