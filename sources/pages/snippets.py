"""PURE. How to send a first event, ready to be copied: those that fit the kind of the source."""

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
WEBSITE = """<script>
  (function () {{
    var analytics = (window.analytics = window.analytics || []);
    if (analytics.invoked || analytics.initialize) return;
    analytics.invoked = true;
    analytics._writeKey = "{key}";
    analytics._cdn = "{url}";
    var calls = "identify track page group alias reset ready on once off user debug setAnonymousId";
    calls.split(" ").forEach(function (call) {{
      analytics[call] = function () {{
        analytics.push([call].concat([].slice.call(arguments)));
        return analytics;
      }};
    }});
    var script = document.createElement("script");
    script.async = true;
    script.src = "{url}/analytics.js/v1/{key}/analytics.min.js";
    document.head.appendChild(script);
    analytics.page();
  }})();
</script>"""
NPM = """// npm install @segment/analytics-next
import {{ AnalyticsBrowser }} from "@segment/analytics-next";

const analytics = AnalyticsBrowser.load({{ writeKey: "{key}", cdnURL: "{url}" }});

analytics.page();
analytics.identify("user-1", {{ email: "ada@example.com" }});
analytics.track("Product Viewed", {{ sku: "boot-7" }});"""
RUDDERSTACK = """// npm install @rudderstack/analytics-js
import {{ RudderAnalytics }} from "@rudderstack/analytics-js/bundled";

const analytics = new RudderAnalytics();
analytics.load("{key}", "{url}", {{ configUrl: "{url}" }});

analytics.page();
analytics.track("Product Viewed", {{ sku: "boot-7" }});"""
JITSU = """<script async src="{url}/p.js" data-write-key="{key}"></script>"""
BROWSER = """// Who it is, kept from page to page as a library would.
let anonymousId = localStorage.getItem("anonymousId");
if (!anonymousId) {{
  anonymousId = Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16)).join("");
  localStorage.setItem("anonymousId", anonymousId);
}}

fetch("{url}/v1/track", {{
  method: "POST",
  keepalive: true,
  body: JSON.stringify({{
    writeKey: "{key}",
    anonymousId,
    event: "Product Viewed",
    properties: {{ sku: "boot-7" }},
  }}),
}});"""
PIXEL = """<img alt="" width="1" height="1"
  src="{url}/v1/pixel/track?writeKey={key}&data=%7B%22userId%22%3A%22user-1%22%2C%22event%22%3A%22Email%20Opened%22%7D">"""
REACT_NATIVE = """// npm install @segment/analytics-react-native @segment/sovran-react-native
import {{ createClient }} from "@segment/analytics-react-native";

const analytics = createClient({{
  writeKey: "{key}",
  proxy: "{url}/v1",
  useSegmentEndpoints: true,
  cdnProxy: "{url}/v1",
}});

analytics.identify("user-1", {{ email: "ada@example.com" }});
analytics.track("Product Viewed", {{ sku: "boot-7" }});"""
ANDROID = """// implementation("com.segment.analytics.kotlin:android:1.+")
val analytics = Analytics("{key}", applicationContext) {{
    apiHost = "{host}/v1"
    cdnHost = "{host}/v1"
}}

analytics.identify("user-1", buildJsonObject {{ put("email", "ada@example.com") }})
analytics.track("Product Viewed", buildJsonObject {{ put("sku", "boot-7") }})"""
IOS = """// https://github.com/segmentio/analytics-swift
let analytics = Analytics(configuration: Configuration(writeKey: "{key}")
    .apiHost("{host}/v1")
    .cdnHost("{host}/v1"))

analytics.identify(userId: "user-1", traits: ["email": "ada@example.com"])
analytics.track(name: "Product Viewed", properties: ["sku": "boot-7"])"""


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
    ("website", "Web page", "For the head of every page. It sends page views, and what you call.", WEBSITE, "website"),
    ("npm", "Web app, with a bundler", ONLY_HOST, NPM, "website"),
    ("rudderstack", "RudderStack, in the browser", "If you come from RudderStack.", RUDDERSTACK, "website"),
    ("jitsu", "Jitsu, in the browser", "If you come from Jitsu.", JITSU, "website"),
    ("react-native", "React Native", HTTPS, REACT_NATIVE, "mobile"),
    ("android", "Android (Kotlin)", HTTPS, ANDROID, "mobile"),
    ("ios", "iOS (Swift)", HTTPS, IOS, "mobile"),
    ("python", "Python", ONLY_HOST, PYTHON, "server"),
    ("node", "Node.js", ONLY_HOST, NODE, "server"),
    ("curl", "curl", "From a terminal: the quickest way to see that it works.", CURL, "website mobile server http"),
    ("browser", "Browser, without a library", "A plain HTTP call from a web page.", BROWSER, "website http"),
    ("pixel", "E-mail", "An image that says when it is looked at.", PIXEL, "http"),
)  # fmt: skip


# Of a write key the first letters are enough to know it again; a screenshot of the page gives none away.
def masked(key: str) -> str:
    """Enough of a write key to know it again."""
    return f"{key[:6]}{'•' * 12}"


def snippets(kind: str, *, key: str, url: str, reveal: bool) -> list[Snippet]:
    """For a kind of source. url: where events are sent to, without a slash at its end."""
    host = url.partition("://")[2]
    shown = key if reveal else masked(key)
    return [
        Snippet(
            name, label, about, text.format(key=shown, url=url, host=host), text.format(key=key, url=url, host=host)
        )
        for name, label, about, text, kinds in SNIPPETS
        if kind in kinds.split()
    ]
