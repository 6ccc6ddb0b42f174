"""The mark that says what a view needs. It enforces nothing: access.gate reads it, and refuses unmarked views."""

from collections.abc import Callable
from typing import Any, TypeVar

View = TypeVar("View", bound=Callable[..., Any])

ANYONE = "anyone"  # no sign-in: the sign-in page, collect, health
SIGNED_IN = "signed-in"  # any user, no workspace


def needs(permission: str, **by_method: str) -> Callable[[View], View]:
    """Mark a view. `permission` is one of access.roles.PERMISSIONS, ANYONE or SIGNED_IN.

    by_method: another permission for an HTTP method, such as `POST="space.use"`.
    """

    def mark(view: View) -> View:
        view.needs = {"": permission, **by_method}  # type: ignore[attr-defined]
        return view

    return mark
