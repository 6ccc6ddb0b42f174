"""PURE. The payloads of a destination, as hundreds of existing integrations read it (spec/segment.md §9).

One change is one identifier. In event style it is an identify with the trait, which is true or false for an audience,
and a track; in list style an entry of `added` or `removed`. What is about accounts is a group call in place of the
identify, and a track whose context names the group. Decision note:
docs/decisions/0010-what-a-destination-is-told.md.
"""

import hashlib
from typing import Annotated, Any, ClassVar

from destinations.rules.contract import Address, Changes, IdentifierChange, PayloadComputation, json_body
from destinations.rules.sending import ANY
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, text
from spaces.times import iso

STYLES_HELP = "event: identify and track calls. list: who was added and removed"
ENTERED, EXITED = "Audience Entered", "Audience Exited"
COMPUTED = "Trait Computed"
LONGEST_EVENT = 200  # characters of an event's name
GROUP = "group_id"  # the identifier of an account, which has no other
EVERY_TYPE = ("user_id", "email", "anonymous_id", ANY)  # of identifiers: these calls have room for any
# Where the ids of a telephone are in `context.device`, as Segment's mobile libraries send them.
DEVICE = {"ios.idfa": "advertisingId", "ios.id": "id", "android.idfa": "advertisingId", "android.id": "id"}
IDENTIFY_HELP = "With the audience's key as a boolean trait; of accounts, group calls"
VALUE_HELP = "With the value under the trait's key; of accounts, group calls"
NEITHER = "At least one of identify and track must be sent"


class EventOptions(SettingsDeclaration, frozen=True):
    """How one audience goes to an event destination."""

    key_property: ClassVar = "audience_key"

    send_identify: Annotated[bool, label("Send identify calls", help=IDENTIFY_HELP)] = True
    send_track: Annotated[bool, label("Send track calls", help="Audience Entered and Audience Exited")] = True
    entered_event: Annotated[str, text("Event name on entering", max_length=LONGEST_EVENT)] = ENTERED
    exited_event: Annotated[str, text("Event name on leaving", max_length=LONGEST_EVENT)] = EXITED

    def check(self) -> None:
        if not (self.send_identify or self.send_track):
            raise InvalidSetting("sendTrack", NEITHER)
        if self.send_track and not (self.entered_event and self.exited_event):
            raise InvalidSetting("enteredEvent" if not self.entered_event else "exitedEvent", "Must not be empty")

    def event(self, change: IdentifierChange) -> str:
        return self.entered_event if change.entering else self.exited_event

    def value(self, change: IdentifierChange) -> Any:
        return change.entering


class TraitOptions(SettingsDeclaration, frozen=True):
    """How one computed trait goes to an event destination."""

    key_property: ClassVar = "trait_key"

    send_identify: Annotated[bool, label("Send identify calls", help=VALUE_HELP)] = True
    send_track: Annotated[bool, label("Send track calls", help="One for each new value")] = False
    computed_event: Annotated[str, text("Event name of a new value", max_length=LONGEST_EVENT)] = COMPUTED

    def check(self) -> None:
        if not (self.send_identify or self.send_track):
            raise InvalidSetting("sendTrack", NEITHER)
        if self.send_track and not self.computed_event:
            raise InvalidSetting("computedEvent", "Must not be empty")

    def event(self, change: IdentifierChange) -> str:
        return self.computed_event

    def value(self, change: IdentifierChange) -> Any:
        return change.value


CallOptions = EventOptions | TraitOptions


def messages(
    change: IdentifierChange, about: PayloadComputation, options: CallOptions, integration: str
) -> list[dict[str, Any]]:
    """The calls of event style. integration: the name under which Segment's receivers know this destination."""
    # Identify comes first, so that the trait is there when the event starts a campaign.
    told = _group if about.of == "accounts" else _identify
    identify = [told(change, about, options, integration)] if options.send_identify else []
    return identify + ([_track(change, about, options, integration)] if options.send_track else [])


def _identify(
    change: IdentifierChange, about: PayloadComputation, options: CallOptions, integration: str
) -> dict[str, Any]:
    return {
        "type": "identify",
        **_common(change, f"{change.id}-identify", integration),
        # The audience's own trait goes before a field of that name, and the address before both: receivers find
        # people by it.
        "traits": {**change.fields, about.key: options.value(change), **_reached(change.address)},
        "context": {**_devices(change.address), **_context(about)},
    }


def _group(
    change: IdentifierChange, about: PayloadComputation, options: CallOptions, integration: str
) -> dict[str, Any]:
    return {
        "type": "group",
        "groupId": change.address.others[GROUP],
        **_common(change, f"{change.id}-group", integration),
        "traits": {**change.fields, about.key: options.value(change)},
        "context": _context(about),
    }


def _track(
    change: IdentifierChange, about: PayloadComputation, options: CallOptions, integration: str
) -> dict[str, Any]:
    reached, group = _reached(change.address), change.address.others.get(GROUP)
    return {
        "type": "track",
        "event": options.event(change),
        **_common(change, f"{change.id}-track", integration),
        "properties": {**change.fields, options.key_property: about.key, about.key: options.value(change)},
        "context": {
            **({"traits": reached} if reached else {}),
            **({"groupId": group} if group else {}),
            **_devices(change.address),
            **_context(about),
        },
    }


def _common(change: IdentifierChange, message_id: str, integration: str) -> dict[str, Any]:
    at = iso(change.at)
    return {
        "messageId": message_id,
        **_ids(change.address),
        # As Segment says "for this destination alone": a receiver that forwards calls must not pass it on.
        "integrations": {"All": False, integration: True},
        "timestamp": at,
        "originalTimestamp": at,
    }


def _ids(address: Address) -> dict[str, str]:
    ids = {"userId": address.user_id, "anonymousId": address.anonymous_id}
    return {name: value for name, value in ids.items() if value is not None}


def _reached(address: Address) -> dict[str, str]:
    """Where somebody can be reached: receivers look for these among the traits."""
    reached = {"email": address.email, "phone": address.others.get("phone")}
    return {name: value for name, value in reached.items() if value is not None}


def _devices(address: Address) -> dict[str, Any]:
    """Identifiers of any other type, where Segment's receivers, and we, look for them."""
    others = {type: value for type, value in address.others.items() if type not in ("phone", GROUP)}
    if not others:
        return {}
    # A person may have two telephones, a call has room for one: that of the first id.
    system = next((type.partition(".")[0] for type in others if type in DEVICE), "")
    device = {DEVICE[type]: value for type, value in others.items() if type in DEVICE and type.startswith(system)}
    externals = [
        {"id": value, "type": type, "collection": "users", "encoding": "none"} for type, value in others.items()
    ]
    return {**({"device": {"type": system, **device}} if device else {}), "externalIds": externals}


def _context(about: PayloadComputation) -> dict[str, Any]:
    return {
        "integrations": {"personas": False},  # the loop guard: these calls must not come back in
        "library": {"name": "unknown", "version": "unknown"},  # so it stands in the calls of Segment's own
        "personas": {
            "computation_class": about.kind,
            "computation_id": about.id,
            "computation_key": about.key,
            "namespace": about.space,
            "space_id": about.space,
        },
    }


def deletion(address: Address) -> dict[str, Any]:
    """Of a person who is to be forgotten: all that they were called by."""
    return {**_ids(address), **({"email": address.email} if address.email else {}), **address.others}


def deletion_id(address: Address) -> str:
    """The same each time, so that a receiver drops what it has; and it tells nobody who it is about."""
    return f"delete-{hashlib.blake2b(json_body(deletion(address)), digest_size=12).hexdigest()}"


def change_set(changes: Changes, about: PayloadComputation) -> dict[str, Any]:
    """The body of list style: who is added and removed, in one batch of one audience."""
    return {
        "type": "audience",
        "messageId": batch_id(changes),
        "timestamp": iso(max(change.at for change in changes)),
        "audience": {"id": about.id, "key": about.key, "name": about.name},
        "context": {"personas": _context(about)["personas"]},
        "added": [_entry(change) for change in changes if change.entering],
        "removed": [_entry(change) for change in changes if not change.entering],
    }


def _entry(change: IdentifierChange) -> dict[str, Any]:
    fields = {"traits": dict(change.fields)} if change.fields else {}
    return {
        "messageId": change.id,
        **_ids(change.address),
        **_reached(change.address),
        **_devices(change.address),
        **fields,
        "timestamp": iso(change.at),
    }


def batch_id(changes: Changes) -> str:
    """The same for the same changes, and for no others."""
    together = "\n".join(change.id for change in changes).encode()
    return "batch_" + hashlib.blake2b(together, digest_size=16).hexdigest()
