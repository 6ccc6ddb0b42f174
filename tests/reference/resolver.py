"""The naive resolver lives with the quickstart, which checks every run with it; the tests use the same one."""

from quickstart.resolver import (
    Fed,
    Profile,
    Reference,
    find_group_identifier,
    find_user_identifiers,
    is_kept_out,
)

__all__ = ["Fed", "Profile", "Reference", "find_group_identifier", "find_user_identifiers", "is_kept_out"]
