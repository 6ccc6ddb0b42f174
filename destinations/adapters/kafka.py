"""Messages in a topic of Kafka, or of what speaks as it does: one for each change, keyed by audience and person."""

from datetime import datetime
from typing import Annotated, Any, Literal

from destinations.rules.contract import (
    Adapter,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    IdentifierChange,
    PayloadComputation,
    json_body,
    read_by_status,
    test_id,
)
from destinations.rules.payloads import EVERY_TYPE, batch_id
from destinations.rules.vendors import decoded, refused_rows
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret, text
from spaces.times import iso

TLS_HELP = "verify: encrypted, and the certificates must be right. off: in clear"


class KafkaSettings(SettingsDeclaration, frozen=True):
    brokers: Annotated[
        str, text("Brokers", place=True, help="Some of them, with ports: a.example.com:9093, b.example.com:9093")
    ]
    topic: Annotated[str, text("Topic", help="It must be there, unless the cluster creates topics by itself")]
    tls: Annotated[Literal["verify", "off"], label("TLS", help=TLS_HELP)] = "verify"
    mechanism: Annotated[Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"], label("Logs in by")] = "SCRAM-SHA-512"
    user: Annotated[str, text("User", help="Empty: it does not log in")] = ""
    password: Annotated[str, secret("Password")] = ""

    def check(self) -> None:
        # The client would try a wrong one for long before it says so.
        for place in self.brokers.split(","):
            host, _, port = place.strip().rpartition(":")
            if not (host and port.isdecimal() and 0 < int(port) < 65536):
                raise InvalidSetting("brokers", "Hosts with ports, and commas in between")
        if not self.topic.replace("-", "").replace("_", "").replace(".", "").isalnum() or len(self.topic) > 249:
            raise InvalidSetting("topic", "At most 249 letters, digits, dots, - and _")


class KafkaOptions(SettingsDeclaration, frozen=True):
    topic: Annotated[str, text("Topic", help="Empty: that of the destination", max_length=249)] = ""


def plan(
    changes: Changes, about: PayloadComputation, settings: KafkaSettings, options: KafkaOptions, now: datetime
) -> list[DestinationRequest]:
    """A message for each. The newest of a key says whether the person is in: a compacted topic is the audience."""
    messages = [
        {
            "topic": options.topic or settings.topic,
            "key": f"{about.key}/{change.address.person}",
            "value": _value(change, about),
            # By it a consumer tells a repetition: a batch that was not acknowledged is sent again.
            "headers": {"message-id": change.id},
        }
        for change in changes
    ]
    return [DestinationRequest(batch_id(changes), changes, "PRODUCE", body=json_body(messages))]


def _value(change: IdentifierChange, about: PayloadComputation) -> dict[str, Any]:
    address = change.address
    ids = {"userId": address.user_id, "anonymousId": address.anonymous_id, "email": address.email}
    others = {"identifiers": dict(address.others)} if address.others else {}
    fields = {"traits": dict(change.fields)} if change.fields else {}
    is_trait = about.kind == "trait"
    return {
        "messageId": change.id,
        "timestamp": iso(change.at),
        about.kind: {"id": about.id, "key": about.key, "name": about.name},
        **{name: value for name, value in ids.items() if value is not None},
        **others,
        **fields,
        # A null value is written too: of a compacted topic the newest message of a key is all that stays.
        **({"value": change.value} if is_trait else {"member": change.entering}),
    }


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """Messages that no broker takes are named by their number."""
    refused = decoded(answer.body).get("refused") if answer.ok else None
    if not refused:
        return read_by_status(request, answer)
    return refused_rows(request, {int(number): reason for number, reason in refused.items()})


def test(settings: KafkaSettings, now: datetime) -> DestinationRequest:
    """Asks for the partitions of the topic. Nothing is written: a consumer would take a test for a change."""
    return DestinationRequest(test_id(now), (), "GET", settings.topic)


adapter = Adapter(
    kind="kafka",
    label="Kafka",
    description="Writes a message for each change to a topic, keyed by audience and person.",
    settings=KafkaSettings,
    options=KafkaOptions,
    trait_options=KafkaOptions,
    capabilities=Capabilities(
        styles=("event",),
        batch=500,
        identifiers=EVERY_TYPE,
        limits=(DocumentedLimit(1_048_588, "bytes in a message", "2026-11", "kafka.apache.org, message.max.bytes"),),
    ),
    plan=plan,
    read=read,
    test=test,
    transport="kafka",
    credentials=(
        "A user with the operations Describe and Write on the topic: kafka-configs --alter --entity-type users "
        "--entity-name personas --add-config 'SCRAM-SHA-512=[password=…]', then kafka-acls --add --allow-principal "
        "User:personas --producer --topic people. In Confluent Cloud: an API key, with PLAIN."
    ),
    unread="A topic has what was said, one after the other, and not who is in it",
)
