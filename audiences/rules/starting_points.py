"""PURE. Audiences that many begin with, by which the builder is filled. Events are called as in Segment's spec."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class StartingPoint:
    """key: in addresses and forms. about: whom it is for."""

    key: str
    name: str
    about: str
    definition: dict[str, Any]


def _event(name: str, **more: Any) -> dict[str, Any]:
    return {"kind": "event", "name": name, **more}


STARTING_POINTS = (
    StartingPoint(
        "cart_abandoned",
        "Cart abandoned",
        "Added something to the cart and did not order within a day.",
        _event(
            "Product Added",
            within={"days": 14},
            then=[{"name": "Order Completed", "exactly": 0, "within": {"days": 1}}],
        ),
    ),
    StartingPoint(
        "lapsed_buyers",
        "Lapsed buyers",
        "Ordered in the half year before the last 90 days, and not since.",
        {
            "all": [
                _event("Order Completed", between=[{"days": 90}, {"days": 270}]),
                _event("Order Completed", exactly=0, within={"days": 90}),
            ]
        },
    ),
    StartingPoint(
        "vip_by_revenue",
        "VIPs by revenue",
        "Ordered for 500 or more within a year.",
        _event("Order Completed", sum="revenue", atLeast=500, within={"days": 365}),
    ),
    StartingPoint(
        "trial_ends",
        "Trial ends soon",
        "The trial ends within the next three days.",
        {"kind": "trait", "name": "trial_ends_at", "op": "withinNext", "value": {"days": 3}},
    ),
    StartingPoint(
        "onboarding_stuck",
        "Onboarding stuck",
        "Signed up lately and made no first project within a week.",
        _event(
            "Signed Up",
            within={"days": 30},
            then=[{"name": "Project Created", "exactly": 0, "within": {"days": 7}}],
        ),
    ),
    StartingPoint(
        "win_back",
        "Win back",
        "Ordered at least twice, not in the last 60 days, and looked around in the last two weeks.",
        {
            "all": [
                _event("Order Completed", atLeast=2),
                _event("Order Completed", exactly=0, within={"days": 60}),
                _event("Product Viewed", within={"days": 14}),
            ]
        },
    ),
)
BY_KEY = {point.key: point for point in STARTING_POINTS}
