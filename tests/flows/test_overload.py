"""The whole stack under more than it can take: clients that are slow or many, calls and connections that hang.

For the full minute and its figures: `make bench BENCH=overload`.
"""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager, suppress

import httpx
import psycopg2
import pytest

from benchmarks import prepared
from benchmarks.overload import MESSAGES, Outcome, load, probing, slow_clients
from benchmarks.shop import until_archived
from benchmarks.stack import Stack, own_environment, stack, until
from personas_site import budget
from personas_site.embedded.paths import PROJECT_ROOT
from quickstart import making
from quickstart.client import Json
from tests.receiver import Receiver, Reply, receiving

# A stopped product answers nothing at all; a machine that runs other things besides takes its time.
AT_MOST_S = 3.0


@pytest.fixture(scope="module")
def silent() -> Iterator[Receiver]:
    """Takes every call, and never answers."""
    with receiving() as receiver:
        receiver.answer = lambda got: Reply(0)
        yield receiver


@pytest.fixture(scope="module")
def running(silent: Receiver) -> Iterator[Stack]:
    with stack(PERSONAS_OUTBOUND_ALLOW=silent.place) as started:
        yield started


@pytest.fixture
def source(running: Stack) -> Json:
    made: Json = running.api.post("sources", {"name": f"Shop {time.time_ns()}", "kind": "server"})["source"]
    return made


def tally_of(running: Stack, source: Json) -> Json:
    found: Json = running.api.get(f"sources/{source['id']}")["source"]["tally"]
    return found


def assert_archived_once(running: Stack, source: Json, *outcomes: Outcome) -> None:
    """Every message that was acknowledged, and no other."""
    until_archived(running, [source])
    sent = MESSAGES * sum(outcome.accepted for outcome in outcomes)
    assert tally_of(running, source) == {"archived": sent, "doubled": 0, "rejected": 0, "suppressed": 0, "waiting": 0}


def backends(running: Stack) -> list[str]:
    """Of PostgreSQL, for the application: what each did last."""
    with closing(psycopg2.connect(running.paths.database_owner_url)) as connection, connection.cursor() as cursor:
        cursor.execute("SELECT query FROM pg_stat_activity WHERE usename = 'personas_app'")
        return [query for (query,) in cursor.fetchall()]


@contextmanager
def repeating(clients: int, prepare: Callable[[httpx.Client], Callable[[], object]]) -> Iterator[None]:
    """So many clients do what `prepare` gives to each of them, over and over."""
    over = threading.Event()

    def go_on() -> None:
        with httpx.Client(timeout=60, trust_env=False) as client:
            once = prepare(client)
            while not over.is_set():
                once()

    threads = [threading.Thread(target=go_on) for _ in range(clients)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        over.set()
        for thread in threads:
            thread.join()


def post_status(running: Stack, source: Json) -> int:
    body = {"writeKey": source["writeKeys"][0], "type": "track", "event": "Viewed", "userId": "u"}
    return running.http.post(f"{running.address}/v1/track", json=body).status_code


def test_half_sent_bodies_stop_nobody_and_are_given_up(running: Stack, source: Json) -> None:
    with (
        slow_clients(running.address, 64) as first,
        slow_clients(running.address, 64, "/sign-in"),
        slow_clients(running.address, 64, "/api/spaces"),
    ):
        given_up = first[0]
        with probing(running.address) as livez, probing(running.address, "/sign-in") as pages:
            found = load(running, source["writeKeys"][0], clients=8, seconds=2)
        assert set(found.counts) == {200}
        assert max(livez) < AT_MOST_S
        assert max(pages) < AT_MOST_S
        assert b" 408 " in given_up.recv(100)  # within the timeout of the socket
    assert_archived_once(running, source, found)


def test_a_gzip_of_many_empty_members_stops_nobody(running: Stack, source: Json) -> None:
    bomb = (b"\x1f\x8b\x08\0\0\0\0\0\0\x03\x03" + b"\0" * 9) * 240_000

    def thrower(client: httpx.Client) -> Callable[[], object]:
        return lambda: client.post(f"{running.address}/v1/batch", content=bomb)

    with repeating(10, thrower), probing(running.address) as livez:
        found = load(running, source["writeKeys"][0], clients=4, seconds=2)
    assert found.accepted > 10
    assert found.percentile(0.99) < AT_MOST_S
    assert max(livez) < AT_MOST_S


def test_two_hundred_at_once_are_taken_or_told_and_workers_go_on(running: Stack, source: Json) -> None:
    most = [0]
    over = threading.Event()

    def watch() -> None:
        while not over.wait(0.2):
            most[0] = max(most[0], len(backends(running)))

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with slow_clients(running.address, 64), probing(running.address) as livez:
            found = load(running, source["writeKeys"][0], clients=200, seconds=8)
    finally:
        over.set()
        watcher.join()
    assert set(found.counts) <= {200, 503}
    assert found.accepted > 100
    assert found.unexplained == 0
    assert found.percentile(0.99) < AT_MOST_S
    assert max(livez) < AT_MOST_S
    assert 0 < most[0] <= budget.PER_WEB_PROCESS + 52
    assert_archived_once(running, source, found)


def test_a_test_of_a_silent_webhook_holds_up_no_page_and_no_event(
    running: Stack, source: Json, silent: Receiver
) -> None:
    api = running.api
    space = making.a_space(api, "Silence", "dev")
    body = {"kind": "webhook", "name": "Silent", "settings": {"url": silent.url}}
    made = api.post(f"spaces/{space['id']}/destinations", body)["destination"]
    path = f"{running.address}/api/spaces/{space['id']}/destinations/{made['id']}/test"
    statuses: list[int] = []

    def ask() -> None:
        headers = {"Authorization": f"Bearer {running.token}"}
        with httpx.Client(timeout=60, trust_env=False) as client:
            statuses.append(client.post(path, headers=headers).status_code)

    threads = [threading.Thread(target=ask) for _ in range(20)]
    for thread in threads:
        thread.start()
    until(lambda: silent.got, within_s=20)
    with probing(running.address, "/sign-in") as pages:
        found = load(running, source["writeKeys"][0], clients=4, seconds=2)
    assert any(thread.is_alive() for thread in threads)  # it was meanwhile
    for thread in threads:
        thread.join()
    assert max(pages) < AT_MOST_S
    assert found.percentile(0.99) < AT_MOST_S
    assert set(statuses) == {200, 503}  # the first are told that nobody answered, the others to come back
    assert_archived_once(running, source, found)


def test_guesses_of_passwords_slow_nobody_down(running: Stack, source: Json) -> None:
    def guesser(client: httpx.Client) -> Callable[[], object]:
        page = client.get(f"{running.address}/sign-in")
        token = page.text.partition('name="csrfmiddlewaretoken" value="')[2].partition('"')[0]
        form = {"csrfmiddlewaretoken": token, "username": "owner@example.com", "password": "a guess"}
        return lambda: client.post(f"{running.address}/sign-in", data=form)

    with repeating(16, guesser), probing(running.address) as livez:
        found = load(running, source["writeKeys"][0], clients=4, seconds=2)
    assert set(found.counts) == {200}
    assert found.percentile(0.99) < AT_MOST_S
    assert max(livez) < AT_MOST_S


def test_when_all_connections_were_taken_everything_goes_on_by_itself_afterwards(running: Stack, source: Json) -> None:
    """By somebody else: our own processes cannot. What was acknowledged meanwhile is archived."""
    assert post_status(running, source) == 200
    with ExitStack() as taken:
        ours = taken.enter_context(closing(psycopg2.connect(running.paths.database_owner_url)))

        def take_the_rest() -> None:
            with suppress(psycopg2.OperationalError):
                for _ in range(200):
                    taken.enter_context(closing(psycopg2.connect(running.paths.database_owner_url)))

        take_the_rest()
        accepted = 1 + sum(post_status(running, source) == 200 for _ in range(20))
        # Whoever has a connection keeps it. Now they lose those, too, and perhaps find no other.
        with ours.cursor() as cursor:
            cursor.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'personas_app'")
        take_the_rest()
        accepted += sum(post_status(running, source) == 200 for _ in range(20))
        assert running.http.get(f"{running.address}/livez").status_code == 200
    assert until(lambda: post_status(running, source) == 200, within_s=30)
    until_archived(running, [source])
    assert tally_of(running, source)["archived"] == accepted + 1


def test_workers_keep_their_connections_from_task_to_task(running: Stack, source: Json) -> None:
    """A new one costs more than what a task does with a single event."""

    def sessions() -> int:
        with closing(psycopg2.connect(running.paths.database_owner_url)) as connection, connection.cursor() as cursor:
            cursor.execute("SELECT sessions FROM pg_stat_database WHERE datname = current_database()")
            (count,) = cursor.fetchone()
            return int(count)

    def send(number: int) -> None:
        auth = (source["writeKeys"][0], "")
        event = {"userId": "one", "event": "Alone", "messageId": f"alone-{number}"}
        httpx.post(f"{running.address}/v1/track", json=event, auth=auth, trust_env=False).raise_for_status()
        until(lambda: tally_of(running, source)["archived"] == number, within_s=AT_MOST_S)

    send(1)
    before = sessions()
    for number in range(2, 22):
        send(number)
    # Each of the twenty was a task or more. Of the sessions one is ours, and threads that had no work yet may begin.
    assert sessions() - before < 10


def test_a_configuration_that_the_server_cannot_take_is_refused_in_one_sentence(tmp_path, running: Stack) -> None:
    environ = own_environment(tmp_path, PERSONAS_WEB_PROCESSES="9")
    prepared.prepare(tmp_path, environ)
    argv = [sys.executable, "-m", "personas_site.up"]
    done = subprocess.run(argv, cwd=PROJECT_ROOT, env=environ, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1
    assert "PostgreSQL takes 97 connections, but Personas may need" in done.stderr
    assert "PERSONAS_WEB_PROCESSES" in done.stderr
