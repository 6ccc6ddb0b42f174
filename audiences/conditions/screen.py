"""PURE. Viewed a screen of an app: as a page of a website."""

from dataclasses import dataclass
from typing import ClassVar

from audiences.conditions.page import ViewedPage
from audiences.rules.fields import TextField, declare


@dataclass(frozen=True)
class ViewedScreen(ViewedPage):
    """People who viewed the screen of this name: the event "Screen Viewed" with the property "screen_name"."""

    kind = "screen"
    label = "Viewed a screen"
    example: ClassVar = {"name": "Checkout", "exactly": 0, "within": {"days": 7}}

    name: str = declare(TextField("name", "Screen"))


condition = ViewedScreen
