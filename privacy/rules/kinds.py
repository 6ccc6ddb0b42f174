"""PURE. What can be asked for about people: the kinds of regulations, as Segment names them (spec/segment.md §6)."""

from dataclasses import dataclass


@dataclass(frozen=True)
class RegulationKind:
    """suppresses: nothing more is heard of them. erases: what is known of them goes. forwards: destinations that can
    are told to forget them, which is more than to take them out of lists."""

    key: str
    label: str
    about: str
    suppresses: bool = False
    erases: bool = False
    forwards: bool = False
    unsuppresses: bool = False

    @property
    def of_spaces(self) -> bool:
        """Whether one space can be meant. The suppressed are dropped before any space has heard of them."""
        return self.erases and not self.suppresses


KINDS = {
    kind.key: kind
    for kind in (
        RegulationKind(
            "SUPPRESS_WITH_DELETE",
            "Erase, forward and suppress",
            "Erased everywhere, also by destinations that can, and nothing new is taken.",
            suppresses=True,
            erases=True,
            forwards=True,
        ),
        RegulationKind(
            "SUPPRESS_WITH_DELETE_INTERNAL",
            "Erase here and suppress",
            "Erased here and taken out of destinations' lists, and nothing new is taken.",
            suppresses=True,
            erases=True,
        ),
        RegulationKind(
            "DELETE_ONLY",
            "Erase and forward",
            "Erased everywhere, also by destinations that can. What they do from now on makes a new profile.",
            erases=True,
            forwards=True,
        ),
        RegulationKind(
            "DELETE_INTERNAL",
            "Erase here",
            "Erased here and taken out of destinations' lists. What they do from now on makes a new profile.",
            erases=True,
        ),
        RegulationKind(
            "SUPPRESS_ONLY",
            "Suppress",
            "What is known stays; nothing new is taken.",
            suppresses=True,
        ),
        RegulationKind(
            "UNSUPPRESS",
            "No longer suppress",
            "What they do from now on is taken again. What was dropped stays lost.",
            unsuppresses=True,
        ),
    )
}
