"""Wake-ups are sent beside the requests that ask for them."""

import threading
import time

from personas_site.waking import Waker

PATIENCE_S = 5.0


def test_whoever_asks_does_not_wait_for_the_wake_up() -> None:
    sending, may_end = threading.Event(), threading.Event()

    def wake() -> None:
        sending.set()
        may_end.wait(PATIENCE_S)

    begun = time.monotonic()
    Waker(wake).ask()
    assert time.monotonic() - begun < PATIENCE_S / 2
    assert sending.wait(PATIENCE_S)
    may_end.set()


def test_what_is_asked_for_during_a_wake_up_is_followed_by_another() -> None:
    begun, done = threading.Semaphore(0), threading.Semaphore(0)

    def wake() -> None:
        begun.release()
        done.acquire()

    waker = Waker(wake)
    waker.ask()
    assert begun.acquire(timeout=PATIENCE_S)
    waker.ask()  # committed after the first began: only a second one is sure to see it
    done.release()
    assert begun.acquire(timeout=PATIENCE_S)
    done.release()


def test_many_that_ask_at_once_are_served_by_few() -> None:
    calls: list[float] = []
    waker = Waker(lambda: calls.append(time.monotonic()))
    for _ in range(1000):
        waker.ask()
    time.sleep(0.2)
    assert 1 <= len(calls) <= 30
