"""Sending through the real client library: its public methods for the shop, its transport for a file as it is."""

import json
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import requests
from segment.analytics import Client
from segment.analytics.request import APIError, post

from quickstart.shop import Sent

QUEUE = 4_000  # messages that wait in one client; more would only cost memory
UPLOAD_SIZE = 400  # messages in one request: about 250 KB, of at most 500
BATCH_BYTES, BATCH_MESSAGES = 400_000, 2_000
ATTEMPTS = 6

Progress = Callable[[int], None]  # how many messages are acknowledged so far


class SendError(Exception):
    """The server does not take messages any more; the message is for the user."""


@dataclass
class Delivery:
    """sent: messages handed to the server, doubles included. refused: (message, why) of requests it did not take."""

    sent: int = 0
    refused: list[tuple[Any, str]] = field(default_factory=list)


def send_shop(address: str, keys: Mapping[str, str], messages: Iterable[Sent], progress: Progress) -> Delivery:
    """Every message is acknowledged. keys: the write key of each source. Raises SendError."""
    logging.getLogger("segment").setLevel(logging.CRITICAL)  # what fails is collected below and reported once
    delivery = Delivery()

    def refused(error: Exception, batch: list[Any]) -> None:
        delivery.refused.extend((message, str(error)) for message in batch)

    settings: dict[str, Any] = {"host": address, "on_error": refused, "upload_interval": 0.5, "max_retries": ATTEMPTS}
    # Twice what may wait: the library drops what its queue has no room for.
    settings |= {"max_queue_size": 2 * QUEUE, "upload_size": UPLOAD_SIZE}
    clients = {source: Client(key, **settings) for source, key in keys.items()}
    for sent in messages:
        client = clients[sent.source]
        # The library drops what its queue has no room for, so it is not given more than that.
        while client.queue.qsize() >= QUEUE:
            _fail_early(delivery)
            time.sleep(0.01)
        delivery.sent += bool(_call(client, sent)[0])
        if delivery.sent % 1_000 == 0:
            progress(delivery.sent - _waiting(clients))
    while _waiting(clients):
        progress(delivery.sent - _waiting(clients))
        time.sleep(0.1)
    for client in clients.values():
        client.shutdown()
    _fail_early(delivery)
    progress(delivery.sent)
    return delivery


def _fail_early(delivery: Delivery) -> None:
    if delivery.refused:
        message, why = delivery.refused[0]
        count = len(delivery.refused)
        raise SendError(f"the server did not take {count:,} messages, the first being {message['messageId']}: {why}")


def _waiting(clients: Mapping[str, Client]) -> int:
    return sum(client.queue.qsize() for client in clients.values())


def _call(client: Client, sent: Sent) -> tuple[bool, Any]:
    """One call of a public method of the library, as an application makes it."""
    message = sent.message
    common = {
        "user_id": message.get("userId"),
        "anonymous_id": message.get("anonymousId"),
        "context": message.get("context"),
        "timestamp": datetime.fromtimestamp(sent.at / 1000, UTC),
        "message_id": sent.message_id,
    }
    match message["type"]:
        case "track":
            return client.track(event=message["event"], properties=message["properties"], **common)
        case "identify":
            return client.identify(traits=message["traits"], **common)
        case "group":
            return client.group(group_id=message["groupId"], traits=message["traits"], **common)
        case "page":
            return client.page(name=message["name"], properties=message["properties"], **common)
        case "screen":
            return client.screen(name=message["name"], properties=message["properties"], **common)
    raise ValueError(f"the shop does not send {message['type']}")


def send_file(address: str, key: str, messages: Iterable[Any], progress: Progress) -> Delivery:
    """Every message went to the server as it is, in order, in batches, or is among the refused."""
    logging.getLogger("segment").setLevel(logging.CRITICAL)
    delivery = Delivery()
    for batch in _batches(messages):
        _post(address, key, batch, delivery)
        progress(delivery.sent)
    return delivery


def _batches(messages: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    size = 0
    for message in messages:
        length = len(json.dumps(message))
        if batch and (size + length > BATCH_BYTES or len(batch) == BATCH_MESSAGES):
            yield batch
            batch, size = [], 0
        batch.append(message)
        size += length
    if batch:
        yield batch


def _post(address: str, key: str, batch: list[Any], delivery: Delivery) -> None:
    """The batch is taken; of one that the server does not take, the messages it refuses are found by halving."""
    try:
        _post_with_patience(address, key, batch)
        delivery.sent += len(batch)
    except APIError as error:
        if len(batch) == 1:
            delivery.refused.append((batch[0], str(error)))
            return
        middle = len(batch) // 2
        _post(address, key, batch[:middle], delivery)
        _post(address, key, batch[middle:], delivery)


def _post_with_patience(address: str, key: str, batch: list[Any]) -> None:
    """Raises APIError when the server refuses for good, SendError when it stays away."""
    for attempt in range(ATTEMPTS):
        try:
            post(key, address, timeout=30, batch=batch)
            return
        except APIError as error:
            if error.status < 500 and error.status != 429:  # what is wrong with it will be so the next time, too
                raise
            failure: Exception = error
        except requests.RequestException as error:
            failure = error
        time.sleep(0.25 * 2**attempt)
    raise SendError(f"the server did not take a batch: {failure}")
