"""PURE. How to send a first event, ready to be copied: those that fit the kind of the source."""

from dataclasses import dataclass
from pathlib import Path
from string import Template

# A file for each: in its own language, without escapes.
TEXTS = Path(__file__).parents[2] / "templates/sources/snippets"


@dataclass(frozen=True)
class Snippet:
    """shown: with the key masked, unless it is to be revealed. whole: what is copied."""

    name: str
    label: str
    about: str
    shown: str
    whole: str

    @property
    def copy(self) -> str:
        """The id of the element that holds it."""
        return f"snippet-{self.name}"


ONLY_HOST = "The library that Segment's users know; only its host is yours."
HTTPS = f"{ONLY_HOST} It sends by HTTPS alone."
# With the kinds of sources that each is for. The first of a kind is what most of its users take.
SNIPPETS = (
    ("website", "Web page", "For the head of every page. It sends page views, and what you call.", "website"),
    ("npm", "Web app, with a bundler", ONLY_HOST, "website"),
    ("rudderstack", "RudderStack, in the browser", "If you come from RudderStack.", "website"),
    ("jitsu", "Jitsu, in the browser", "If you come from Jitsu.", "website"),
    ("react-native", "React Native", HTTPS, "mobile"),
    ("android", "Android (Kotlin)", HTTPS, "mobile"),
    ("ios", "iOS (Swift)", HTTPS, "mobile"),
    ("python", "Python", ONLY_HOST, "server"),
    ("node", "Node.js", ONLY_HOST, "server"),
    ("curl", "curl", "From a terminal: the quickest way to see that it works.", "website mobile server http"),
    ("browser", "Browser, without a library", "A plain HTTP call from a web page.", "website http"),
    ("pixel", "E-mail", "An image that says when it is looked at.", "http"),
)  # fmt: skip


# Of a write key the first letters are enough to know it again; a screenshot of the page gives none away.
def masked(key: str) -> str:
    """Enough of a write key to know it again."""
    return f"{key[:6]}{'•' * 12}"


def snippets(kind: str, *, key: str, url: str, reveal: bool) -> list[Snippet]:
    """For a kind of source. url: where events are sent to, without a slash at its end."""
    host, shown = url.partition("://")[2], key if reveal else masked(key)
    rows = []
    for name, label, about, kinds in SNIPPETS:
        if kind in kinds.split():
            text = Template((TEXTS / f"{name}.txt").read_text().rstrip("\n"))
            shown_text, whole = (text.substitute(key=one, url=url, host=host) for one in (shown, key))
            rows.append(Snippet(name, label, about, shown_text, whole))
    return rows
