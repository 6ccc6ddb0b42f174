"""The client libraries that are run: what each can do, and how it does it, with only its host changed."""

import subprocess
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

HERE = Path(__file__).parent
VALUES = {"price": 19.5, "count": 3, "gift": True, "label": "Größe", "tags": ["a", "b"], "nested": {"deep": 1}}
CALLS = ("identify", "track", "page", "screen", "group", "alias", "batch", "flush", "reset", "unload", "retry")
MANY = 25  # tracked in a row
SERVER = ("identify", "track", "page", "screen", "group", "alias", "batch", "flush", "retry")
BROWSER = ("identify", "track", "page", "screen", "group", "alias", "batch", "reset", "unload", "retry")
MOBILE = ("identify", "track", "screen", "group", "alias", "batch", "flush", "reset", "retry")
NO_RETRY = tuple(call for call in BROWSER if call != "retry")
ESBUILD = ("node_modules/.bin/esbuild", "--bundle", "--format=esm", "--log-level=error")
PHONE = {"react-native": "phone", "react": "react"}
STORAGE = ("--external:@react-native-async-storage/async-storage", "--external:react-native-get-random-values")
PAGE = "http://localhost:4321/"  # where the pages are: another origin than the console's

Run = Callable[[str, str], None]  # with the address to send to, and the write key


@dataclass(frozen=True)
class Library:
    """calls: of CALLS, those that it has."""

    name: str
    calls: tuple[str, ...]

    @property
    def retries(self) -> bool:
        return "retry" in self.calls


# Python


def segment(address: str, key: str) -> None:
    from segment.analytics.client import Client  # each where it is used: only one of them is there in some runs

    _python(Client(key, host=address, gzip=True, max_retries=5))


def analytics_python(address: str, key: str) -> None:
    from analytics.client import Client

    _python(Client(key, host=address, max_retries=5))


def rudderstack(address: str, key: str) -> None:
    from rudderstack.analytics.client import Client

    _python(Client(key, host=address, max_retries=5))


def hightouch(address: str, key: str) -> None:
    from hightouch.htevents.client import Client

    _python(Client(key, host=address, max_retries=5))


def _python(client: Any) -> None:
    client.identify("user-1", VALUES)
    client.track("user-1", "Tested", VALUES)
    client.page("user-1", name="Home", properties=VALUES)
    client.screen("user-1", name="Main", properties=VALUES)
    client.group("user-1", "group-1", VALUES)
    client.alias("anonymous-1", "user-1")
    for number in range(MANY):
        client.track("user-1", "Batched", {"n": number})
    client.flush()
    client.track("user-1", "Flushed", VALUES)
    client.flush()
    client.join()


PYTHON: dict[Library, Run] = {
    Library("Segment Python 2.4", SERVER): segment,
    Library("Segment Python 1.4", SERVER): analytics_python,
    Library("RudderStack Python 2.1", SERVER): rudderstack,
    Library("Hightouch Python 0.0.4", SERVER): hightouch,
}


# Node


def _node(library: str) -> Run:
    return lambda address, key: _run("node", "node.mjs", library, address, key)


def react_native(address: str, key: str) -> None:
    """Its core, on what it needs of a phone."""
    with TemporaryDirectory() as folder:
        bundle = f"{folder}/bundle.mjs"
        phone = [f"--alias:{name}=./react-native/{file}.js" for name, file in PHONE.items()]
        _run(*ESBUILD, "react-native/run.js", "--platform=node", *phone, *STORAGE, f"--outfile={bundle}")
        _run("node", bundle, address, key)


def _run(*argv: str) -> str:
    done = subprocess.run(argv, cwd=HERE, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


NODE: dict[Library, Run] = {
    Library("Segment Node 3.1", SERVER): _node("segment-node"),
    Library("Segment Node 2.3", SERVER): _node("segment-node-2"),
    Library("analytics-node 6.2", SERVER): _node("analytics-node-6"),
    Library("RudderStack Node 3.0", SERVER): _node("rudderstack-node"),
    Library("React Native 2.24", MOBILE): react_native,
    # Jitsu waits for each answer and never tries again, and has neither screens nor aliases.
    Library("Jitsu Node 1.11", ("identify", "track", "page", "group", "batch", "reset")): _node("jitsu-node"),
}


# Browsers


@dataclass(frozen=True)
class Page:
    """entry: of the folder browser/. head: the snippet that is in its head, by name."""

    entry: str
    head: str = ""

    def script(self, address: str, key: str) -> str:
        """The page's script, as its owner's bundler makes it."""
        where = [f'--define:CLIENT_KEY="{key}"', f'--define:CLIENT_HOST="{address}"']
        return _run(*ESBUILD, f"browser/{self.entry}", *where)


BROWSERS: dict[Library, Page] = {
    Library("analytics-next 1.84", BROWSER): Page("segment.js"),
    Library("analytics-next 1.84, batching", BROWSER): Page("segment-batching.js"),
    Library("analytics-next 1.70", NO_RETRY): Page("segment-1.70.js"),
    Library("The snippet, analytics.min.js", BROWSER): Page("snippet.js", "website"),
    Library("RudderStack browser 3.34", tuple(c for c in BROWSER if c != "screen")): Page("rudderstack.js"),
    Library("RudderStack browser, useBeacon", tuple(c for c in NO_RETRY if c != "screen")): Page(
        "rudderstack-beacon.js"
    ),
    Library("Jitsu browser 1.11", ("identify", "track", "page", "group", "batch", "reset", "unload")): Page(
        "jitsu.js", "jitsu"
    ),
    Library("Hightouch browser 1.5", NO_RETRY): Page("hightouch.js"),
    Library("sendBeacon, fetch with cookies", ("track", "page", "unload")): Page("beacon.js"),
    Library("The pixel", ("track",)): Page("pixel.js"),
}


# What arrived


def verdicts(library: Library, messages: Iterable[dict[str, Any]], *, refused: int) -> dict[str, str]:
    """Of each call "once" when it arrived once with the right types, "–" when the library has none, else what is wrong.

    messages: as archived. refused: how many requests were told to come back.
    """
    found = list(messages)
    by_type = {name: [one for one in found if one["type"] == name] for name in CALLS}
    events = {name: [one for one in by_type["track"] if one["event"] == name] for name in EVENTS}
    checks: dict[str, Callable[[], str]] = {
        "identify": lambda: _one(by_type["identify"], "traits", VALUES),
        "track": lambda: _one(events["Tested"], "properties", VALUES),
        "page": lambda: _one([one for one in by_type["page"] if _page_name(one) == "Home"], "properties", VALUES),
        "screen": lambda: _one(by_type["screen"], "properties", VALUES),
        "group": lambda: _one([one for one in by_type["group"] if one["groupId"] == "group-1"], "traits", VALUES),
        "alias": lambda: "once" if len(by_type["alias"]) == 1 else f"{len(by_type['alias'])} times",
        "batch": lambda: _batch(events["Batched"]),
        "flush": lambda: _one(events["Flushed"], "properties", VALUES),
        "reset": lambda: _reset(events["Tested"], events["After Reset"]),
        "unload": lambda: _one(events["Unloaded"], "", {}),
        "retry": lambda: "once" if refused else "never refused",
    }
    return {call: checks[call]() if call in library.calls else "–" for call in CALLS}


EVENTS = ("Tested", "Batched", "Flushed", "After Reset", "Unloaded")


def _one(messages: list[dict[str, Any]], where: str, values: dict[str, Any]) -> str:
    if len(messages) != 1:
        return f"{len(messages)} times"
    given = messages[0].get(where, {})
    wrong = [name for name, value in values.items() if repr(given.get(name)) != repr(value)]
    return f"wrong: {', '.join(wrong)}" if wrong else "once"


def _page_name(message: dict[str, Any]) -> str | None:
    """Jitsu has it among the properties."""
    return message.get("name") or message["properties"].get("name")


def _batch(messages: list[dict[str, Any]]) -> str:
    numbers = sorted(one["properties"]["n"] for one in messages)
    return "once" if numbers == list(range(MANY)) else f"{len(numbers)} of {MANY}"


def _reset(before: list[dict[str, Any]], after: list[dict[str, Any]]) -> str:
    if (verdict := _one(after, "properties", VALUES)) != "once":
        return verdict
    if after[0].get("userId"):
        return "still known"
    return "the same visitor" if before[0].get("anonymousId") == after[0]["anonymousId"] else "once"
