"""The hands of somebody at the console: a mouse, a keyboard alone, or a mouse in a browser without JavaScript.

A journey is written once and walked with each of them. Whatever is touched is named as a screen reader names it,
so that what has no name, or cannot be reached, fails.
"""

import re
from abc import ABC, abstractmethod
from contextlib import nullcontext
from dataclasses import dataclass, field

from playwright.sync_api import Locator, Page, expect

MOST_STOPS = 150
PATIENCE = 30_000  # ms for what the console does in the background

# The key that brings the focus nearer to one of these elements, and how many stops away that is, about; null when it is
# there.
NEXT_STOPS = """all => {
    const at = document.activeElement;
    if (all.includes(at)) return null;
    const before = at !== document.body && at.compareDocumentPosition(all[0]) & Node.DOCUMENT_POSITION_PRECEDING;
    const stops = [...document.querySelectorAll("a[href], button, input, select, textarea, summary, [tabindex]")]
        .filter((it) => it === all[0] || (it.tabIndex >= 0 && !it.disabled && it.checkVisibility()
            && (it.type !== "radio" || it.checked)));
    const between = Math.abs(stops.indexOf(all[0]) - stops.indexOf(at));
    return [before ? "Shift+Tab" : "Tab", Math.max(1, Math.floor(between * 0.8))];
}"""

# Whether it brings another page, and not only a part of this one.
LEAVES = """(it, scripts) => it.tagName !== "SUMMARY" && it.type !== "button"
    && !(scripts && it.closest("[hx-get], [hx-post]"))"""


@dataclass
class Hands(ABC):
    """clicks: links, buttons, boxes and choices. fields: texts typed. strokes: keys pressed for it."""

    page: Page
    scripts = True
    clicks: int = 0
    fields: int = 0
    strokes: int = 0
    touched: list[str] = field(default_factory=list)

    def press(self, name: str, *, within: str = "body") -> None:
        """The link or button of this name does what it does, and the page that it leads to is there."""
        self.clicks += 1
        self.touched.append(name)
        control = self._control(name, self.page.locator(within))
        leaves = control.evaluate(LEAVES, self.scripts)
        with self.page.expect_navigation() if leaves else nullcontext():
            self._press(control)

    def fill(self, label: str, text: str) -> None:
        self.fields += 1
        self.touched.append(label)
        self._fill(self._field(label), text)

    def choose(self, label: str, option: str) -> None:
        """An option of a list."""
        self.clicks += 1
        self.touched.append(label)
        self._choose(self._field(label), option)

    def tick(self, label: str) -> None:
        """A check box, or one of several radio buttons."""
        self.clicks += 1
        self.touched.append(label)
        self._tick(self._field(label))

    def see(self, text: str, *, within: str = "main") -> None:
        """The page says this, at once or after a while."""
        expect(self.page.locator(within)).to_contain_text(text, timeout=PATIENCE)

    def _control(self, name: str, within: Locator) -> Locator:
        """A name may go on, as that of a card does; one that is all of it goes first."""
        begins = re.compile(rf"^\s*{re.escape(name)}")
        whole = re.compile(rf"{begins.pattern}\s*$")
        _called(begins, within).first.wait_for()
        return (_called(whole, within) if _called(whole, within).count() else _called(begins, within)).first

    def _field(self, label: str) -> Locator:
        """What is labelled so; the label may go on with an explanation."""
        begins = self.page.get_by_label(re.compile(rf"^\s*{re.escape(label)}"))
        return begins.and_(self.page.locator("input, select, textarea")).locator("visible=true").first

    @abstractmethod
    def _press(self, control: Locator) -> None: ...

    @abstractmethod
    def _fill(self, box: Locator, text: str) -> None: ...

    @abstractmethod
    def _choose(self, options: Locator, option: str) -> None: ...

    @abstractmethod
    def _tick(self, box: Locator) -> None: ...


def _called(name: re.Pattern[str], within: Locator) -> Locator:
    """The links and buttons of this name, and what opens a part of the page."""
    button, link = within.get_by_role("button", name=name), within.get_by_role("link", name=name)
    return button.or_(link).or_(within.locator("summary").filter(has_text=name)).locator("visible=true")


class Mouse(Hands):
    def _press(self, control: Locator) -> None:
        control.click()

    def _fill(self, box: Locator, text: str) -> None:
        box.click()
        box.fill(text)

    def _choose(self, options: Locator, option: str) -> None:
        options.select_option(label=option)

    def _tick(self, box: Locator) -> None:
        box.check()


class PlainMouse(Mouse):
    """Without JavaScript nothing appears by itself: whoever waits for something asks again."""

    scripts = False

    def see(self, text: str, *, within: str = "main") -> None:
        for _ in range(PATIENCE // 500):
            if text in self.page.locator(within).inner_text():
                return
            self.page.wait_for_timeout(500)
            self.page.reload()
        super().see(text, within=within)


class Keyboard(Hands):
    def _press(self, control: Locator) -> None:
        self._reach(control)
        self._stroke("Enter")

    def _fill(self, box: Locator, text: str) -> None:
        self._reach(box)
        self._stroke("Control+A")
        self.page.keyboard.type(text)

    def _choose(self, options: Locator, option: str) -> None:
        self._reach(options)
        self.page.keyboard.type(option)

    def _tick(self, box: Locator) -> None:
        if box.get_attribute("type") != "radio":
            self._reach(box)
            return self._stroke("Space")
        group = self.page.locator(f"input[type=radio][name='{box.get_attribute('name')}']")
        self._reach(group)
        for _ in range(group.count()):
            if box.is_checked():
                return None
            self._stroke("ArrowDown")
        return expect(box).to_be_checked()

    def _reach(self, wanted: Locator) -> None:
        """Tab, forwards or backwards, until what is wanted, or one of it, has the focus."""
        end = self.strokes + MOST_STOPS
        while self.strokes < end:
            if (next_stops := wanted.evaluate_all(NEXT_STOPS)) is None:
                return
            for _ in range(next_stops[1]):
                self._stroke(next_stops[0])
        raise AssertionError(f"the keyboard does not reach {wanted}")

    def _stroke(self, key: str) -> None:
        self.strokes += 1
        self.page.keyboard.press(key)
