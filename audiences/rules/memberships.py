"""PURE. Membership that is past: whoever entered an audience lately, or was ever in it."""

from dataclasses import dataclass

from audiences.rules.windows import Duration


@dataclass(frozen=True)
class PastMembership:
    """Having entered the audience `key` within this time up to now; None = having been in it at any time."""

    key: str
    within: Duration | None

    @property
    def name(self) -> str:
        """Of whoever did so before the present tick. No audience has such a key."""
        return f"{self.key} {self.within or 'ever'}"

    @property
    def before(self) -> str:
        """Of whoever was in the audience before the present tick."""
        return f"{self.key} before"
