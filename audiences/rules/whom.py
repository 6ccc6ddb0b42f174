"""PURE. What pages call those whom something is about."""

from dataclasses import dataclass

from audiences.rules.grammar import ACCOUNTS, USERS


@dataclass(frozen=True)
class Whom:
    """one, many: their noun. heading: before the conditions. who: the word that leads to one. nobody: when there are
    none. first: at the side of the first of several conditions, and of one that is negated; by how they are joined."""

    one: str
    many: str
    heading: str
    who: str
    nobody: str
    first: dict[str, tuple[str, str]]

    @property
    def may_be_anonymous(self) -> bool:
        """Whether it is asked if anonymous ones count."""
        return self is WHOM[USERS]

    @property
    def mark(self) -> str:
        """What stands at a number that would be taken for one of people."""
        return "" if self is WHOM[USERS] else self.many

    @property
    def title(self) -> str:
        return self.many.capitalize()


WHOM = {
    USERS: Whom(
        one="person",
        many="people",
        heading="People for whom",
        who="who",
        nobody="Nobody matches at the moment.",
        first={"all": ("All people who", "All people except who"), "any": ("People who", "People except who")},
    ),
    ACCOUNTS: Whom(
        one="account",
        many="accounts",
        heading="Accounts for which",
        who="that",
        nobody="No account matches at the moment.",
        first={
            "all": ("All accounts that", "All accounts except that"),
            "any": ("Accounts that", "Accounts except that"),
        },
    ),
}
