"""The mark that says in which lane of the web process a view runs, when not in the console's (personas_site.front)."""

from collections.abc import Callable
from typing import Any, TypeVar

View = TypeVar("View", bound=Callable[..., Any])

COLLECT = "collect"  # what client libraries send
CONSOLE = "console"  # every view that has no mark
PROFILES = "profiles"  # what servers of customers read of people, by the Profile API
QUERIES = "queries"  # statements over a whole space: previews, exports
CALLS = "calls"  # calls to the outside, which may take as long as the door out allows
PASSWORDS = "passwords"  # hashes that are slow on purpose


def lane(name: str = CONSOLE, **by_method: str) -> Callable[[View], View]:
    """Mark a view. by_method: another lane for an HTTP method, such as `POST=CALLS`."""

    def mark(view: View) -> View:
        view.lanes = {"": name, **by_method}  # type: ignore[attr-defined]
        return view

    return mark
