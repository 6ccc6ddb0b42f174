"""The pages of the documentation as the tests read them: prose, code spans, fenced samples, headings and links."""

import re
import shlex
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
FENCE = re.compile(r"^( *)```(\w*)(?: title=\"(.+?)\")?\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Sample:
    """A fenced block. title: the file that it is, where a walk has one written."""

    page: str
    language: str
    title: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}: {self.title or self.text.strip().splitlines()[0]}"


@dataclass(frozen=True)
class Page:
    path: Path

    @cached_property
    def text(self) -> str:
        return self.path.read_text()

    @cached_property
    def prose(self) -> str:
        """Without the fenced samples."""
        return FENCE.sub("", self.text)

    @property
    def samples(self) -> list[Sample]:
        return [
            Sample(str(self), language, title, textwrap.dedent(text))
            for _, language, title, text in FENCE.findall(self.text)
        ]

    @property
    def codes(self) -> list[str]:
        """What stands in backticks, on one line."""
        return [" ".join(code.split()) for code in re.findall(r"`([^`]+)`", self.prose)]

    @property
    def links(self) -> list[str]:
        """Targets of links and pictures, as they are written."""
        return re.findall(r"\]\(([^)\s]+)\)", re.sub(r"`[^`]+`", "", self.prose))

    @property
    def anchors(self) -> set[str]:
        """Of its headings, where the site and a code host agree on them."""
        return {anchor(heading) for heading in re.findall(r"^#+ (.+)$", self.prose, re.MULTILINE)}

    def __str__(self) -> str:
        return str(self.path.relative_to(ROOT))


def anchor(heading: str) -> str:
    return re.sub(r"[^\w\s-]", "", heading).strip().lower().replace(" ", "-")


PAGES = [Page(ROOT / name) for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")]
PAGES += [Page(path) for path in sorted((ROOT / "docs").rglob("*.md"))]
SAMPLES = [sample for page in PAGES for sample in page.samples]


def commands(sample: Sample) -> Iterator[list[str]]:
    """The words of each command of a shell sample; one in quotes may have several lines."""
    lines: list[str] = []
    for line in sample.text.splitlines():
        lines.append(line)
        try:
            words = shlex.split("\n".join(lines), comments=True)
        except ValueError:  # a quotation is open
            continue
        lines.clear()
        if words:
            yield words
    assert not lines, f"{sample}: a quotation is not closed"


def written_files() -> dict[str, str]:
    """The files that the walks have one write: path -> content."""
    return {sample.title: sample.text for sample in SAMPLES if sample.title}
