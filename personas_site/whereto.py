"""Addresses of pages by what one wants to do there."""

from django.urls import NoReverseMatch, reverse


def nearest(names: tuple[str, ...], workspace: str, space: str = "", id: str = "") -> str:
    """The address of the first of these pages that exists: of the thing, of the space or of the workspace. Else ""."""
    for name in names:
        for args in ([workspace, space, id], [workspace, space], [workspace]):
            if all(args):
                try:
                    return reverse(name, args=args)
                except NoReverseMatch:
                    continue
    return ""
