"""python -m quickstart [--home DIR] [--once] [--events FILE]"""

import argparse
import json
import os
import secrets
import signal
import sys
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from quickstart.client import Api, ApiError, Json
from quickstart.console import Console, ConsoleError, open_console
from quickstart.eventfile import FileError
from quickstart.feed import Feed, FeedError, FileFeed, ShopFeed
from quickstart.figures import InSpace, Run
from quickstart.making import a_catcher
from quickstart.screen import Screen
from quickstart.sending import SendError
from quickstart.steps import Stalled, Steps
from quickstart.table import table

LOGIN, WORKSPACE = "owner@example.com", "Quickstart"
EXPECTED = (ApiError, ConsoleError, FileError, FeedError, SendError, Stalled, OSError)


def main(arguments: list[str] | None = None) -> int:
    options = _options(arguments)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what we started is stopped in order
    screen = Screen()
    console: Console | None = None
    try:
        options.home.mkdir(parents=True, exist_ok=True)
        with screen.progress("reading the file" if options.events else "opening the shop"):
            feed: Feed = FileFeed(options.home, options.events) if options.events else ShopFeed(options.home)
        begun = time.monotonic()
        with screen.progress("starting the console"):
            console = open_console(options.home)
        screen.good(f"the console answers at {console.address} after {time.monotonic() - begun:.1f} s")
        run = _run(console, feed, screen)
        status = _finish(run, console, screen)
        if options.once:
            return status
        screen.say(f"The console is at {run.console}; sign in as {run.login} with {run.password}")
        if console.process:  # one that somebody else started goes on anyway
            screen.say("Ctrl-C stops it.")
            try:
                screen.fault(f"the console has stopped by itself, with status {console.wait()}")
            except KeyboardInterrupt:
                screen.say("")
        return status
    except EXPECTED as error:
        screen.fault(str(error))
        return 1
    except KeyboardInterrupt:
        screen.say("interrupted: the same command goes on from here")
        return 130
    finally:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)  # it ends at once as it is, and in order
        if console and console.process:
            with screen.progress("stopping the console"):
                console.stop()


def _options(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m quickstart", description="The eight steps, on sample data.")
    default = os.environ.get("PERSONAS_HOME") or "var"
    parser.add_argument("--home", type=Path, default=Path(default), help="where everything is kept (PERSONAS_HOME)")
    parser.add_argument("--once", action="store_true", help="end after the table")
    parser.add_argument("--events", type=Path, help="one's own messages, one a line, .jsonl or .jsonl.gz")
    options = parser.parse_args(arguments)
    options.home = options.home.resolve()
    return options


def _run(console: Console, feed: Feed, screen: Screen) -> Run:
    """The eight steps. What disagreed is in the result; what could not be done is raised."""
    with screen.progress("signing in"):
        owner = _owner(console)
    api = Api(console.address, owner["api_token"])
    steps = Steps(api, screen, feed)
    screen.step(1, "Create a Dev space")
    dev = steps.space("Dev", "dev")
    screen.step(2, "Invite a teammate")
    steps.invite(dev)
    screen.step(3, "Connect sources")
    steps.make_sources()
    counts, faults = steps.send()
    in_dev, _ = _in_space(steps, dev, numbered=True)
    screen.step(8, "Create a Prod space, and do the same there")
    prod = steps.space("Prod", "prod")
    in_prod, catcher = _in_space(steps, prod, numbered=False)
    in_prod.faults += steps.strangers_at(prod, catcher)
    sources = {source["name"]: source for source in steps.sources}
    return Run(
        console=console.address,
        login=owner["login"],
        password=owner["password"],
        api_token=owner["api_token"],
        workspace=owner["workspace"],
        sources={name: source["id"] for name, source in sources.items()},
        write_keys={name: source["writeKeys"][0] for name, source in sources.items()},
        counts=counts,
        dev=in_dev,
        prod=in_prod,
        faults=faults,
    )


def _in_space(steps: Steps, space: Json, *, numbered: bool) -> tuple[InSpace, Json]:
    """Steps 3 to 7 in this space, announced by their numbers or not. Its catcher comes along."""

    def step(number: int, title: str) -> None:
        if numbered:
            steps.screen.step(number, title)

    replayed = steps.replay(space)
    step(4, "Check profiles")
    profiles = steps.check_profiles(space)
    step(5, "Create audiences")
    wanted = steps.feed.audiences()
    audiences = [steps.build(space, audience) for audience in wanted]
    step(6, "Connect them to a destination")
    catcher = a_catcher(steps.api, space)
    for audience in audiences:
        steps.subscribe(space, audience, catcher)
    step(7, "Validate who arrived")
    memberships = [steps.validate(space, *pair, catcher) for pair in zip(wanted, audiences, strict=True)]
    return InSpace(space["id"], space["name"], replayed, profiles, memberships), catcher


def _owner(console: Console) -> dict[str, str]:
    """Login, password, token and workspace: those of the run before while they still open the console."""
    path = console.home / "quickstart.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    # A token of before may have been revoked, or be of stores that were thrown away since.
    with suppress(ApiError, KeyError):
        if Api(console.address, kept["api_token"]).get("workspace"):
            return {name: kept[name] for name in ("login", "password", "api_token", "workspace")}
    owner = console.owner(LOGIN, WORKSPACE, password=kept.get("password") or secrets.token_urlsafe(12))
    return {
        "login": owner["email"],
        "password": owner["password"],
        "api_token": owner["api_token"],
        "workspace": owner["workspace"],
    }


def _finish(run: Run, console: Console, screen: Screen) -> int:
    """The table is shown and kept. 1 when something disagrees."""
    path = console.home / "quickstart.json"
    draft = path.with_suffix(".new")
    draft.touch(mode=0o600)  # before there is anything in it: it holds a password
    draft.write_text(json.dumps(run.to_json(), indent=1) + "\n")
    draft.replace(path)
    screen.console.print()
    screen.console.print(table(run))
    screen.console.print()
    faults = run.all_faults()
    for fault in faults:
        screen.fault(fault)
    if not faults:
        screen.good("every figure agrees")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
