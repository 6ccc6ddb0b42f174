"""PURE. How to send a first event, ready to be copied: one example for each way that people use most."""

from dataclasses import dataclass

CURL = """curl {url}/v1/track \\
  -u '{key}:' \\
  -H 'Content-Type: application/json' \\
  -d '{{"userId": "user-1", "event": "Signed Up", "properties": {{"plan": "pro"}}}}'"""
PYTHON = """# pip install segment-analytics-python
import segment.analytics as analytics

analytics.write_key = "{key}"
analytics.host = "{url}"

analytics.identify("user-1", {{"email": "ada@example.com", "plan": "pro"}})
analytics.track("user-1", "Signed Up", {{"plan": "pro"}})
analytics.flush()"""
NODE = """// npm install @segment/analytics-node
import {{ Analytics }} from "@segment/analytics-node";

const analytics = new Analytics({{ writeKey: "{key}", host: "{url}" }});

analytics.identify({{ userId: "user-1", traits: {{ email: "ada@example.com" }} }});
analytics.track({{ userId: "user-1", event: "Signed Up", properties: {{ plan: "pro" }} }});
await analytics.closeAndFlush();"""
BROWSER = """fetch("{url}/v1/track", {{
  method: "POST",
  body: JSON.stringify({{
    writeKey: "{key}",
    anonymousId: "visitor-1",
    event: "Product Viewed",
    properties: {{ sku: "boot-7" }},
  }}),
}});"""


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


SNIPPETS = (
    ("curl", "curl", "From a terminal: the quickest way to see that it works.", CURL),
    ("python", "Python", "The library that Segment's users know; only its host is yours.", PYTHON),
    ("node", "Node.js", "The library that Segment's users know; only its host is yours.", NODE),
    ("browser", "Browser", "A plain HTTP call from a web page, without any library.", BROWSER),
)


def masked(key: str) -> str:
    """Enough of a write key to know it again."""
    return f"{key[:6]}{'•' * 12}"


def snippets(*, key: str, url: str, reveal: bool) -> list[Snippet]:
    """url: where events are sent to, without a slash at its end."""
    return [
        Snippet(
            name, label, about, text.format(key=key if reveal else masked(key), url=url), text.format(key=key, url=url)
        )
        for name, label, about, text in SNIPPETS
    ]
