"""Kafka, through the door out. Also the brokers that the cluster names are only connected to when they may be.

A client in Python, whose connections the loop opens: librdkafka opens its own, and cannot be told from Python to which
addresses it may.
"""

import asyncio
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

import msgspec
from aiokafka import AIOKafkaProducer
from aiokafka.errors import (
    KafkaError,
    MessageSizeTooLargeError,
    SaslAuthenticationFailed,
    TopicAuthorizationFailedError,
    UnknownTopicOrPartitionError,
    UnsupportedSaslMechanismError,
)

from destinations.models import Destination
from destinations.rules.contract import DestinationRequest
from destinations.rules.send_batch import Unanswered
from spaces.answers import Answer
from spaces.outbound import OutboundError
from spaces.outbound_loop import checked_loop

STOPPED_S = 1.0
REFUSED_ALL = (SaslAuthenticationFailed, TopicAuthorizationFailedError, UnsupportedSaslMechanismError)


class KafkaMessage(msgspec.Struct):
    """An entry of a request's body."""

    topic: str
    key: str
    value: Any
    headers: dict[str, str] = {}


@contextmanager
def calls(destination: Destination, settings: Any) -> Iterator[Callable[[DestinationRequest], Answer]]:
    """One producer for all calls of the block. A message counts once all brokers that must have it do."""
    producer: AIOKafkaProducer | None = None

    async def ask(request: DestinationRequest) -> dict[int, str]:
        nonlocal producer
        if producer is None:
            producer = _producer(settings, request.timeout_s)
            await producer.start()
        if request.method == "GET":
            await producer.partitions_for(request.url)
            return {}
        sent = []
        for message in msgspec.json.decode(request.body, type=list[KafkaMessage]):
            headers = [(name, text.encode()) for name, text in message.headers.items()]
            value = msgspec.json.encode(message.value) if message.value is not None else None
            try:
                sent.append(await producer.send(message.topic, value, key=message.key.encode(), headers=headers))
            # Told by its number like what a broker refuses: the others of the batch go on.
            except MessageSizeTooLargeError as error:
                sent.append(asyncio.get_running_loop().create_future())
                sent[-1].set_exception(error)
        refused = {}
        for number, result in enumerate(await asyncio.gather(*sent, return_exceptions=True)):
            if isinstance(result, MessageSizeTooLargeError):
                refused[number] = "The message is too large"
            elif isinstance(result, BaseException):
                raise result
        return refused

    with checked_loop() as run:

        def call(request: DestinationRequest) -> Answer:
            try:
                refused = run(request.timeout_s, ask(request))
            except OutboundError as error:
                raise Unanswered(str(error), permanent=error.permanent) from error
            except REFUSED_ALL as error:
                return Answer(403, body=str(error).encode())
            except UnknownTopicOrPartitionError:
                return Answer(404, body=b"The topic does not exist")
            except (KafkaError, OSError, TimeoutError) as error:
                raise Unanswered(str(error) or type(error).__name__, arrived=True) from error
            return Answer(200, body=msgspec.json.encode({"refused": refused}))

        try:
            yield call
        finally:
            if producer is not None:
                # It waits for messages that are still on their way: not for such as nobody takes.
                with suppress(TimeoutError, KafkaError, OutboundError):
                    run(STOPPED_S, producer.stop())


def _producer(settings: Any, timeout_s: float) -> AIOKafkaProducer:
    is_encrypted, is_named = settings.tls != "off", bool(settings.user)
    context = ssl.create_default_context() if is_encrypted else None
    return AIOKafkaProducer(
        bootstrap_servers=[place.strip() for place in settings.brokers.split(",")],
        client_id="personas",
        # What one broker alone has may be lost with it.
        acks="all",
        # A batch of messages is a few requests, not hundreds.
        linger_ms=5,
        compression_type="gzip",
        request_timeout_ms=int(timeout_s * 1000),
        security_protocol=f"{'SASL_' if is_named else ''}{'SSL' if is_encrypted else 'PLAINTEXT'}",
        ssl_context=context,
        sasl_mechanism=settings.mechanism if is_named else "PLAIN",
        sasl_plain_username=settings.user or None,
        sasl_plain_password=settings.password or None,
    )
