"""What a split, or a move, would mean for audiences and destinations: worked out in apps above this one.

`personas_site.urls` hands their code to the views: identity knows neither audiences nor destinations.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from identity.rules.policy import Identifier
from identity.splits import Resolved


@dataclass(frozen=True)
class ToldEffect:
    """What a destination would be told of an audience: identifiers that enter, and that leave. id, destination: of the
    subscription, and the name of where it goes. why: that is not worked out, and this is why; "" = it is."""

    id: str
    destination: str
    enter: Sequence[Identifier]
    leave: Sequence[Identifier]
    why: str = ""


@dataclass(frozen=True)
class AudienceEffect:
    """An audience that has, or would have, any of these people. now: numbers of its members of today among them;
    after: of those who would be. why: that is not worked out, and this is why; "" = it is."""

    id: str
    name: str
    now: Sequence[int]
    after: Sequence[int]
    why: str = ""
    told: Sequence[ToldEffect] = ()


# None = these people have too many events to be asked about while somebody waits.
EffectsReader = Callable[[Resolved, datetime], Sequence[AudienceEffect] | None]


def no_effects(again: Resolved, now: datetime) -> Sequence[AudienceEffect]:
    return ()
