"""Other companies' tools as their documentation describes them: what they take, refuse, throttle and remember."""

import base64
import hashlib
import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar
from urllib.parse import parse_qs, unquote, urlsplit

from tests.receiver import Got, Receiver, Reply


@dataclass
class Vendor:
    """A tool that throttles now and then, and loses an answer now and then after it has done what was asked.

    bad: people whom it refuses. values: of the one property that tests send, by person. newest: the name of each
    person's newest event. wrong: calls that a real one would not have understood.
    """

    bad: frozenset[str] = frozenset()
    values: dict[str, Any] = field(default_factory=dict)
    newest: dict[str, str] = field(default_factory=dict)
    ids: list[str] = field(default_factory=list)  # of events that a repetition must not double
    wrong: list[str] = field(default_factory=list)
    calls: int = 0
    lock: Any = field(default_factory=threading.Lock)

    refuses: ClassVar = True
    idempotent: ClassVar = True
    throttled: ClassVar = Reply(429, b"slow down", {"Retry-After": "1"})

    def __call__(self, got: Got) -> Reply:
        with self.lock:
            self.calls += 1
            if self.calls % 4 == 2:
                return self.throttled
            reply = self.do(got)
            lost = self.idempotent and self.calls % 7 == 5 and reply.status < 300
            return Reply(502, b"the answer is lost") if lost else reply

    def do(self, got: Got) -> Reply:
        """What it is asked for, without a fault."""
        try:
            return self.take(urlsplit(got.path).path, got)
        except (AssertionError, LookupError, ValueError, TypeError) as error:
            self.wrong.append(f"{got.method} {got.path}: {error!r}")
            return Reply(400)

    def take(self, path: str, got: Got) -> Reply:
        raise NotImplementedError

    def write(self, person: str, properties: Mapping[str, Any]) -> None:
        """Of the one property: null and the empty text take it away."""
        (value,) = properties.values()
        if value in (None, ""):
            self.values.pop(person, None)
        else:
            self.values[person] = value

    def once(self, id: str) -> bool:
        """Whether an event with this id is new."""
        if id in self.ids:
            return False
        self.ids.append(id)
        return True

    @property
    def members(self) -> set[str]:
        return {person for person, value in self.values.items() if value in (True, "true")}

    def changed_by_hand(self, person: str, *, inside: bool) -> None:
        """Somebody puts a person in over there, or takes them out."""
        self.write(person, {"": "true" if inside else None})

    @property
    def numbers(self) -> dict[str, float]:
        return {person: float(value) for person, value in self.values.items()}


def redirected(send: Any, server: Receiver) -> Any:
    """`Caller.send`, by which whatever goes to a host by https arrives at /<host>/… of a server on loopback."""

    def sent(caller: Any, method: str, url: str, **more: Any) -> Any:
        scheme, rest = url.split("://")
        assert scheme == "https"
        return send(caller, method, f"http://{server.place}/{rest}", **more)

    return sent


def page(people: Sequence[str], got: Got, cursor: str) -> tuple[Sequence[str], str]:
    """Four of them, and where the next ones begin. cursor: what the query calls it."""
    start = int(parse_qs(urlsplit(got.path).query).get(cursor, ["0"])[0])
    return people[start : start + 4], str(start + 4) if start + 4 < len(people) else ""


def answer(content: object, status: int = 200) -> Reply:
    return Reply(status, json.dumps(content).encode())


def user_of(got: Got) -> str:
    """The user name of basic authentication, with its password."""
    scheme, _, token = got.headers["authorization"].partition(" ")
    assert scheme == "Basic"
    return base64.b64decode(token).decode()


def without_email(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in properties.items() if name != "email"}


class Customerio(Vendor):
    def take(self, path: str, got: Got) -> Reply:
        if path == "/api-eu.customer.io/v1/customers":
            assert got.headers["authorization"] == "Bearer app-secret"
            ((condition,),) = got.json["filter"].values()
            assert condition == {"attribute": {"field": "shoppers", "operator": "eq", "value": "true"}}
            people, following = page(sorted(self.members), got, "start")
            ids = [{"cio_id": "1", "id": one, "email": ""} if "@" not in one else {"email": one} for one in people]
            return answer({"identifiers": ids, "ids": [], "next": following})
        assert (path, user_of(got)) == ("/track-eu.customer.io/api/v2/batch", "site:secret-key")
        assert len(got.body) < 500_000
        batch = got.json["batch"]
        errors = [error for number, entry in enumerate(batch) if (error := self.one(number, entry))]
        if errors:
            return answer({"errors": errors}, 400 if len(errors) == len(batch) else 207)
        return answer({})

    def one(self, number: int, entry: dict[str, Any]) -> dict[str, Any] | None:
        assert entry["type"] == "person"
        ((name, person),) = entry["identifiers"].items()
        assert name in ("id", "email")
        if person in self.bad or entry["attributes"].get("email") in self.bad:
            return {"batch_index": number, "reason": "invalid", "field": name, "message": "is not one"}
        if entry["action"] == "identify":
            self.write(person, without_email(entry["attributes"]))
        else:
            assert entry["action"] == "event"
            assert isinstance(entry["timestamp"], int)
            self.newest[person] = entry["name"]
        return None


class Iterable(Vendor):
    def take(self, path: str, got: Got) -> Reply:
        assert got.headers["api-key"] == "secret-key"
        users = {
            "/api.eu.iterable.com/api/users/bulkUpdate": "users",
            "/api.eu.iterable.com/api/events/trackBulk": "events",
        }
        refused: dict[str, list[str]] = {"invalidEmails": [], "invalidUserIds": []}
        for entry in got.json[users[path]]:
            name = "userId" if "userId" in entry else "email"
            if self.bad & {entry.get("userId"), entry.get("email")}:
                refused["invalidUserIds" if name == "userId" else "invalidEmails"].append(entry[name])
            elif users[path] == "users":
                self.write(entry[name], entry["dataFields"])
            elif self.once(entry["id"]):
                self.newest[entry[name]] = entry["eventName"]
        failed = sum(map(len, refused.values()))
        return answer({"failCount": failed, "failedUpdates": refused, "invalidEmails": [], "invalidUserIds": []})


class Braze(Vendor):
    throttled = Reply(429, b"{}", {"X-Ratelimit-Retry-After": "2"})

    def take(self, path: str, got: Got) -> Reply:
        assert (path, got.headers["authorization"]) == ("/rest.fra-01.braze.eu/users/track", "Bearer secret-key")
        attributes, events = got.json.get("attributes", []), got.json.get("events", [])
        assert 0 < len(attributes) + len(events) <= 75
        errors = []
        for array, entries in (("attributes", attributes), ("events", events)):
            for number, entry in enumerate(entries):
                person = entry.get("external_id") or entry["email"]
                if self.bad & {person, entry.get("email")}:
                    errors.append({"type": "'external_id' is not valid", "input_array": array, "index": number})
                elif array == "attributes":
                    self.write(
                        person, {key: value for key, value in without_email(entry).items() if key != "external_id"}
                    )
                else:
                    self.newest[person] = entry["name"]
        return answer({"message": "success", **({"errors": errors} if errors else {})}, 201)


@dataclass
class BrazeCohorts(Vendor):
    inside: dict[str, set[str]] = field(default_factory=dict)

    refuses = False  # whom it does not know it leaves out

    def take(self, path: str, got: Got) -> Reply:
        content = got.json
        assert (content.pop("partner_api_key"), content.pop("client_secret")) == ("partner-secret", "import-secret")
        path = path.removeprefix("/rest.fra-01.braze.eu/partners/personas/")
        if path == "cohorts":
            assert content["name"]
            self.inside.setdefault(content["cohort_id"], set())
            return answer({"message": "success"})
        assert path == "cohorts/users"
        inside = self.inside[content["cohort_id"]]
        for change in content["cohort_changes"]:
            assert len(change["user_ids"]) <= 1000
            (inside.difference_update if change["should_remove"] else inside.update)(change["user_ids"])
        return answer({"message": "success"})

    @property
    def members(self) -> set[str]:
        (only,) = self.inside.values()
        return only


class Channel(Vendor):
    """Where messages are read: it counts what they say. One that comes twice is there twice."""

    refuses = False
    idempotent = False
    inside = 0

    def says(self, text: str) -> None:
        entered, left = map(int, re.search(r"(\d+) entered, (\d+) left", text).groups())  # type: ignore[union-attr]
        self.inside += entered - left


class Slack(Channel):
    def take(self, path: str, got: Got) -> Reply:
        assert path == "/hooks.slack.com/services/T/B/secret"
        self.says(got.json["text"])
        return Reply()


class Teams(Channel):
    def take(self, path: str, got: Got) -> Reply:
        assert (path, got.json["type"]) == ("/example.com/workflow", "message")
        (card,) = got.json["attachments"]
        assert card["contentType"] == "application/vnd.microsoft.card.adaptive"
        self.says(" ".join(block["text"] for block in card["content"]["body"]))
        return Reply(202, b"")


@dataclass
class Hook(Vendor):
    """A webhook of somebody's own, that believes the newest call about a person. said_at: when that was, by person."""

    said_at: dict[str, str] = field(default_factory=dict)

    refuses = False

    def take(self, path: str, got: Got) -> Reply:
        assert path == "/example.com/hook"
        for message in got.json if isinstance(got.json, list) else [got.json]:
            if message["type"] == "audience":
                for part in ("added", "removed"):
                    for entry in message[part]:
                        self.believe(entry, entry["timestamp"], inside=part == "added")
            else:
                traits = message.get("traits") or message["properties"]
                email = traits.get("email") or message["context"].get("traits", {}).get("email")
                self.believe({"email": email, **message}, message["timestamp"], inside=traits["shoppers"])
        return Reply()

    def believe(self, entry: Mapping[str, Any], at: str, *, inside: bool) -> None:
        person = entry.get("userId") or entry["email"]
        if at >= self.said_at.get(person, ""):
            self.said_at[person] = at
            self.write(person, {"member": inside})


class Mixpanel(Vendor):
    def take(self, path: str, got: Got) -> Reply:
        assert len(got.json) <= 2000
        if path == "/api-eu.mixpanel.com/engage":
            return self.engage(got.json)
        assert (path, user_of(got)) == ("/api-eu.mixpanel.com/import", "secret-token:")
        failed = []
        for number, event in enumerate(got.json):
            own = event["properties"]
            assert len(own["$insert_id"]) <= 36
            if own["distinct_id"] in self.bad:
                failed.append({"index": number, "insert_id": own["$insert_id"], "field": "", "message": "is bad"})
            elif self.once(own["$insert_id"]):
                self.newest[own["distinct_id"]] = event["event"]
        return answer({"code": 400, "failed_records": failed}, 400) if failed else answer({"code": 200, "status": "OK"})

    def engage(self, profiles: list[dict[str, Any]]) -> Reply:
        if self.bad & {profile["$distinct_id"] for profile in profiles}:
            return answer({"status": 0, "error": "$distinct_id is bad"})
        for profile in profiles:
            assert profile["$token"] == "secret-token"
            unset = dict.fromkeys(profile.get("$unset", []))
            self.write(profile["$distinct_id"], unset or profile["$set"])
        return answer({"status": 1, "error": None})


class Amplitude(Vendor):
    throttled = Reply(429, b'{"code": 429, "error": "Too many requests for some devices and users"}')

    def take(self, path: str, got: Got) -> Reply:
        assert (path, got.json["api_key"]) == ("/api.eu.amplitude.com/2/httpapi", "secret-key")
        events = got.json["events"]
        people = [event.get("user_id") or event["device_id"] for event in events]
        bad = [number for number, person in enumerate(people) if person in self.bad]
        if bad:  # and none of the others is taken
            return answer({"code": 400, "error": "Invalid field", "events_with_invalid_fields": {"user_id": bad}}, 400)
        for person, event in zip(people, events, strict=True):
            if self.once(event["insert_id"]):
                properties = event["user_properties"]
                self.write(person, properties.get("$set") or dict.fromkeys(properties["$unset"]))
                self.newest[person] = event["event_type"]
        return answer({"code": 200, "events_ingested": len(events)})


class Posthog(Vendor):
    refuses = False

    def take(self, path: str, got: Got) -> Reply:
        assert (path, got.json["api_key"]) == ("/eu.i.posthog.com/batch/", "phc_secret")
        for event in got.json["batch"]:
            if self.once(event["uuid"]):
                properties = event["properties"]
                self.write(event["distinct_id"], properties.get("$set") or dict.fromkeys(properties["$unset"]))
                self.newest[event["distinct_id"]] = event["event"]
        return answer({"status": "Ok"})


class SegmentHttp(Vendor):
    refuses = False

    def take(self, path: str, got: Got) -> Reply:
        assert (path, user_of(got)) == ("/events.example.com/v1/batch", "secret-key:")
        assert len(got.body) < 500_000
        for call in got.json["batch"]:
            assert "integrations" not in call
            person = call.get("userId") or call["anonymousId"]
            if self.once(call["messageId"]) and call["type"] == "identify":
                self.write(person, without_email(call["traits"]))
            elif call["type"] == "track":
                self.newest[person] = call["event"]
        return answer({"success": True})


class Ga4(Vendor):
    refuses = False

    def take(self, path: str, got: Got) -> Reply:
        assert path == "/region1.google-analytics.com/mp/collect"
        assert urlsplit(got.path).query == "measurement_id=G-1&api_secret=secret-key"
        assert got.json["client_id"]
        ((name, value),) = got.json["user_properties"].items()
        assert len(name) <= 24
        person = got.json.get("user_id") or got.json["client_id"]
        self.write(person, {name: value["value"]})
        (event,) = got.json["events"]
        assert re.fullmatch(r"[a-z_]{1,40}", event["name"])
        self.newest[person] = event["name"]
        return Reply(204, b"")


class Klaviyo(Vendor):
    def take(self, path: str, got: Got) -> Reply:
        assert (path, got.headers["authorization"]) == (
            "/a.klaviyo.com/api/profile-import",
            "Klaviyo-API-Key pk_secret",
        )
        assert got.headers["revision"]
        profile = got.json["data"]
        attributes = profile["attributes"]
        if attributes["email"] in self.bad:
            return answer({"errors": [{"code": "invalid", "title": "Invalid input.", "detail": "email"}]}, 400)
        unset = dict.fromkeys([profile["meta"]["patch_properties"]["unset"]]) if "meta" in profile else {}
        self.write(attributes["email"], unset or attributes["properties"])
        return answer({"data": {"type": "profile", "id": "01"}})


class Sendgrid(Vendor):
    def take(self, path: str, got: Got) -> Reply:
        assert (got.method, path) == ("PUT", "/api.eu.sendgrid.com/v3/marketing/contacts")
        assert got.headers["authorization"] == "Bearer SG.secret"
        contacts = got.json["contacts"]
        if any(contact["email"] in self.bad for contact in contacts):  # and none of the others is taken
            return answer({"errors": [{"message": "invalid email", "field": "contacts"}]}, 400)
        for contact in contacts:
            self.write(contact["email"], contact["custom_fields"])
        return answer({"job_id": "1"}, 202)


class Hubspot(Vendor):
    def take(self, path: str, got: Got) -> Reply:
        assert path == "/api.hubapi.com/crm/v3/objects/contacts/batch/upsert"
        assert got.headers["authorization"] == "Bearer secret-token"
        inputs, refused = got.json["inputs"], []
        assert len(inputs) <= 100
        for entry in inputs:
            if entry["id"] in self.bad:
                refused.append(entry["objectWriteTraceId"])
            else:
                self.write(entry["id"], without_email(entry["properties"]))
        errors = (
            [{"status": "error", "message": "is bad", "context": {"objectWriteTraceId": refused}}] if refused else []
        )
        return answer({"status": "COMPLETE", "errors": errors}, 207 if refused else 200)


class Activecampaign(Vendor):
    def take(self, path: str, got: Got) -> Reply:
        assert got.headers["api-token"] == "secret-key"
        path, query = path.removeprefix("/yours.api-us1.com/api/3/"), parse_qs(urlsplit(got.path).query)
        ids = {f"1{number}": person for number, person in enumerate(self.values)}
        if path == "fieldValues":
            assert (query["filters[fieldid]"], query["filters[val]"]) == (["7"], ["true"])
            inside = [id for id, person in ids.items() if person in self.members]
            values = [{"contact": id, "field": "7", "value": "true"} for id in page(inside, got, "offset")[0]]
            return answer({"fieldValues": values, "meta": {"total": str(len(inside))}})
        if path == "contacts":
            assert len(query["ids[]"]) <= int(query["limit"][0])
            return answer({"contacts": [{"id": id, "email": ids[id]} for id in query["ids[]"]]})
        assert path == "contact/sync"
        contact = got.json["contact"]
        if contact["email"] in self.bad:
            return answer({"errors": [{"title": "Email address is not valid"}]}, 422)
        (value,) = contact["fieldValues"]
        self.write(contact["email"], {value["field"]: value["value"]})
        return answer({"contact": {"id": "1"}}, 201)


@dataclass
class ListVendor(Vendor):
    """A tool with lists, which it knows by ids of its own. ids_by_name: of lists. people: {id: address or user ID}."""

    ids_by_name: dict[str, str] = field(default_factory=dict)
    people: dict[str, str] = field(default_factory=dict)
    inside: dict[str, set[str]] = field(default_factory=dict)

    def create(self, name: str) -> str:
        assert name not in self.ids_by_name, "a second list of the same name"
        self.ids_by_name[name] = f"4{len(self.ids_by_name)}"
        self.inside[self.ids_by_name[name]] = set()
        return self.ids_by_name[name]

    def know(self, person: str) -> str:
        """The id of this person, who is created if need be."""
        known = next((id for id, own in self.people.items() if own == person), None)
        if known is None:
            known = f"1{len(self.people)}"
            self.people[known] = person
        return known

    @property
    def members(self) -> set[str]:
        (only,) = self.inside.values()
        return {self.people[id] for id in only}

    def changed_by_hand(self, person: str, *, inside: bool) -> None:
        (only,) = self.inside.values()
        (only.add if inside else only.discard)(self.know(person))


class IterableLists(ListVendor):
    def take(self, path: str, got: Got) -> Reply:
        assert got.headers["api-key"] == "secret-key"
        path = path.removeprefix("/api.eu.iterable.com/api/lists")
        if path == "":
            if got.method == "GET":
                return answer({"lists": [{"id": int(id), "name": name} for name, id in self.ids_by_name.items()]})
            return answer({"listId": int(self.create(got.json["name"]))})
        if path == "/getUsers":
            query = parse_qs(urlsplit(got.path).query)
            assert query["preferUserId"] == ["true"]
            return Reply(200, "".join(f"{self.people[id]}\n" for id in self.inside[query["listId"][0]]).encode())
        people = [entry.get("userId") or entry["email"] for entry in got.json["subscribers"]]
        taken = {self.know(person) for person in people if person not in self.bad}
        members = self.inside[str(got.json["listId"])]
        if path == "/subscribe":
            members |= taken
        else:
            assert path == "/unsubscribe"
            members -= taken
        return answer({"successCount": len(taken), "failCount": 0, "invalidUserIds": [*self.bad & {*people}]})


class KlaviyoLists(ListVendor):
    def take(self, path: str, got: Got) -> Reply:
        assert got.headers["authorization"] == "Klaviyo-API-Key pk_secret"
        path = path.removeprefix("/a.klaviyo.com/api")
        query = parse_qs(urlsplit(got.path).query)
        if path == "/profiles":
            wanted = json.loads(query["filter"][0].removeprefix("any(email,").removesuffix(")"))
            known = {person: id for id, person in self.people.items()}
            return answer(
                {"data": [{"id": known[one], "attributes": {"email": one}} for one in wanted if one in known]}
            )
        if path == "/profile-import":
            email = got.json["data"]["attributes"]["email"]
            if email in self.bad:
                return answer({"errors": [{"detail": "email"}]}, 400)
            return answer({"data": {"type": "profile", "id": self.know(email)}})
        if path == "/lists" and got.method == "GET":
            name = json.loads(query["filter"][0].removeprefix("equals(name,").removesuffix(")"))
            return answer({"data": [{"id": id} for own, id in self.ids_by_name.items() if own == name]})
        if path == "/lists":
            return answer({"data": {"id": self.create(got.json["data"]["attributes"]["name"])}}, 201)
        if read := re.fullmatch(r"/lists/(\d+)/profiles", path):
            inside, start = sorted(self.inside[read[1]]), int(query.get("page[cursor]", ["0"])[0])
            following = f"https://a.klaviyo.com{path}?page%5Bcursor%5D={start + 4}" if start + 4 < len(inside) else None
            page = [{"id": id, "attributes": {"email": self.people[id]}} for id in inside[start : start + 4]]
            return answer({"data": page, "links": {"next": following}})
        id = re.fullmatch(r"/lists/(\d+)/relationships/profiles", path)[1]  # type: ignore[index]
        people = {entry["id"] for entry in got.json["data"]}
        assert people <= set(self.people)
        self.inside[id] = self.inside[id] | people if got.method == "POST" else self.inside[id] - people
        return Reply(204, b"")


class SendgridLists(ListVendor):
    def take(self, path: str, got: Got) -> Reply:
        assert got.headers["authorization"] == "Bearer SG.secret"
        path = path.removeprefix("/api.eu.sendgrid.com/v3/marketing")
        if path == "/lists" and got.method == "GET":
            return answer({"result": [{"id": id, "name": name} for name, id in self.ids_by_name.items()]})
        if path == "/lists":
            return answer({"id": self.create(got.json["name"])}, 201)
        if path == "/contacts":
            emails = [contact["email"] for contact in got.json["contacts"]]
            if self.bad & {*emails}:
                return answer({"errors": [{"message": "invalid email"}]}, 400)
            for id in got.json["list_ids"]:
                self.inside[id] |= {self.know(email) for email in emails}
            return answer({"job_id": "1"}, 202)
        if path == "/contacts/search/emails":
            known = {person: id for id, person in self.people.items()}
            result = {one: {"contact": {"id": known[one]}} for one in got.json["emails"] if one in known}
            return answer({"result": result}) if result else Reply(404)
        id = re.fullmatch(r"/lists/(\d+)/contacts", path)[1]  # type: ignore[index]
        assert got.method == "DELETE"
        self.inside[id] -= set(parse_qs(urlsplit(got.path).query)["contact_ids"][0].split(","))
        return answer({"job_id": "2"}, 202)


class HubspotLists(ListVendor):
    def take(self, path: str, got: Got) -> Reply:
        assert got.headers["authorization"] == "Bearer secret-token"
        path = path.removeprefix("/api.hubapi.com/crm/v3")
        if path.startswith("/lists/object-type-id/0-1/name/"):
            id = self.ids_by_name.get(unquote(path.rpartition("/")[2]))
            return answer({"list": {"listId": id}}) if id else Reply(404)
        if path == "/lists":
            assert (got.json["objectTypeId"], got.json["processingType"]) == ("0-1", "MANUAL")
            return answer({"list": {"listId": self.create(got.json["name"])}})
        if path.startswith("/objects/contacts/batch/"):
            return self.contacts(path.rpartition("/")[2], got.json["inputs"], by=got.json.get("idProperty", "id"))
        if read := re.fullmatch(r"/lists/(\d+)/memberships", path):
            ids, after = page(sorted(self.inside[read[1]]), got, "after")
            paging = {"paging": {"next": {"after": after}}} if after else {}
            return answer({"results": [{"recordId": id} for id in ids], **paging})
        id, verb = re.fullmatch(r"/lists/(\d+)/memberships/(add|remove)", path).groups()  # type: ignore[union-attr]
        assert got.method == "PUT"
        people = set(got.json)
        self.inside[id] = self.inside[id] | people if verb == "add" else self.inside[id] - people
        return answer({"recordIdsAdded": [], "recordIdsMissing": []})

    def contacts(self, verb: str, inputs: list[dict[str, Any]], by: str) -> Reply:
        if verb == "read" and by == "id":
            return answer({"results": [{"properties": {"email": self.people[entry["id"]]}} for entry in inputs]})
        known = {person: id for id, person in self.people.items()}
        if verb == "upsert":
            known = {entry["id"]: self.know(entry["id"]) for entry in inputs if entry["id"] not in self.bad}
        results = [
            {"id": known[entry["id"]], "properties": {"email": entry["id"]}} for entry in inputs if entry["id"] in known
        ]
        refused = [entry["objectWriteTraceId"] for entry in inputs if verb == "upsert" and entry["id"] in self.bad]
        errors = [{"message": "is bad", "context": {"objectWriteTraceId": refused}}] if refused else []
        return answer({"results": results, "errors": errors}, 200 if len(results) == len(inputs) else 207)


@dataclass
class Mailchimp(Vendor):
    """Everybody is a member beforehand, but for those whom it has to refuse."""

    fields: list[dict[str, Any]] = field(default_factory=list)
    tagged: set[str] = field(default_factory=set)

    def take(self, path: str, got: Got) -> Reply:
        assert user_of(got) == "personas:secret-us12"
        path = path.removeprefix("/us12.api.mailchimp.com/3.0/lists/a1b2")
        if path == "" and got.method == "GET":
            return answer({"id": "a1b2"})
        if path == "/merge-fields":
            if got.method == "GET":
                return answer({"merge_fields": [{"tag": "FNAME", "merge_id": 1}, *self.fields]})
            assert len(got.json["tag"]) <= 10
            self.fields.append({"tag": got.json["tag"], "merge_id": 2})
            return answer(self.fields[-1])
        if path == "/tag-search":
            return answer({"tags": [{"id": 8, "name": "Shoppers, too"}, {"id": 7, "name": "Shoppers"}]})
        if path == "/segments/7/members":
            people, _ = page(sorted(self.tagged), got, "offset")
            return answer({"members": [{"email_address": one} for one in people], "total_items": len(self.tagged)})
        hash, _, rest = path.removeprefix("/members/").partition("/")
        email = next(one for one in ALL_EMAILS if hashlib.md5(one.encode()).hexdigest() == hash)
        if email in self.bad:
            return Reply(404)
        if rest == "tags":
            (tag,) = got.json["tags"]
            self.tagged = self.tagged | {email} if tag["status"] == "active" else self.tagged - {email}
            return Reply(204, b"")
        assert got.method in ("PUT", "PATCH")
        ((name, value),) = got.json["merge_fields"].items()
        assert name in {field["tag"] for field in self.fields}
        self.write(email, {name: value})
        return answer({"email_address": email})

    @property
    def members(self) -> set[str]:
        assert super().members == self.tagged
        return self.tagged

    def changed_by_hand(self, person: str, *, inside: bool) -> None:
        super().changed_by_hand(person, inside=inside)
        self.tagged = self.tagged | {person} if inside else self.tagged - {person}


@dataclass
class Intercom(Vendor):
    """It knows whom it was told of. contacts: {id: user ID or address}."""

    contacts: dict[str, str] = field(default_factory=dict)

    def take(self, path: str, got: Got) -> Reply:
        assert got.headers["authorization"] == "Bearer secret-token"
        assert got.headers["intercom-version"]
        path = path.removeprefix("/api.eu.intercom.io")
        contacts = self.contacts
        if path == "/tags":
            return answer({"type": "tag", "id": "77", "name": got.json["name"]})
        if path == "/contacts/search" and got.json["query"]["field"] == "tag_id":
            assert got.json["query"]["value"] == "77"
            start = int(got.json["pagination"].get("starting_after", 0))
            following = {"next": {"starting_after": str(start + 4)}} if start + 4 < len(self.members) else {}
            people = sorted(self.members)[start : start + 4]
            entries = [{"external_id": None, "email": one} if "@" in one else {"external_id": one} for one in people]
            return answer({"data": entries, "pages": following})
        if path == "/contacts/search":
            value = got.json["query"]["value"]
            return answer({"data": [{"id": id} for id, own in contacts.items() if own == value]})
        if path == "/contacts":
            person = got.json.get("external_id") or got.json["email"]
            if person in self.bad:
                return answer({"errors": [{"message": "email is invalid"}]}, 400)
            assert person not in contacts.values()
            contacts[f"c{len(contacts)}"] = person
            return answer({"id": f"c{len(contacts) - 1}"})
        id, _, rest = path.removeprefix("/contacts/").partition("/")
        if rest == "tags":
            assert got.json == {"id": "77"}
            self.write(contacts[id], {"tag": True})
        elif rest == "tags/77":
            assert got.method == "DELETE"
            self.write(contacts[id], {"tag": None})
        else:
            self.write(contacts[id], got.json["custom_attributes"])
        return answer({"id": id})


ALL_EMAILS = [*(f"p{n}@x.org" for n in range(12)), "only@x.org"]


@dataclass
class AdsVendor(ListVendor):
    """A tool that is told hashes of addresses, and refuses nobody. tokens: that it gave; the last of them is good."""

    tokens: list[str] = field(default_factory=list)
    ended: bool = False  # the last of them, too

    refuses = False
    hashes: ClassVar = {hashlib.sha256(email.encode()).hexdigest(): email for email in ALL_EMAILS}

    def move(self, list: str, hashes: Any, *, entering: bool) -> None:
        people = {self.know(self.hashes[hash]) for hash in hashes}
        self.inside[list] = self.inside[list] | people if entering else self.inside[list] - people

    def token(self, got: Got) -> Reply:
        form = {name: values[0] for name, values in parse_qs(got.body.decode()).items()}
        assert form["client_secret"] == "client-secret"
        assert form["grant_type"] == "client_credentials" or form["refresh_token"] == "refresh-token"
        self.tokens.append(f"fresh-token-{len(self.tokens)}")
        self.ended = False
        return answer({"access_token": self.tokens[-1], "expires_in": 1800})

    def admits(self, got: Got) -> bool:
        """Whether the call carries the good one of the tokens that it gave."""
        token = got.headers["authorization"].removeprefix("Bearer ")
        assert token in self.tokens
        return token == self.tokens[-1] and not self.ended


class MetaAds(AdsVendor):
    throttled = Reply(400, b'{"error": {"code": 80003, "message": "There have been too many calls"}}')

    def take(self, path: str, got: Got) -> Reply:
        assert got.headers["authorization"] == "Bearer secret-token"
        path = path.removeprefix("/graph.facebook.com/v25.0")
        if path == "/act_12/customaudiences":
            if got.method == "GET":
                return answer({"data": [{"id": id, "name": name} for name, id in self.ids_by_name.items()]})
            assert got.json["customer_file_source"]
            return answer({"id": self.create(got.json["name"])})
        id = path.removesuffix("/users").removeprefix("/")
        payload = got.json["payload"]
        assert payload["schema"] == ["EMAIL"]
        self.move(id, [hash for (hash,) in payload["data"]], entering=got.method == "POST")
        return answer({"audience_id": id, "num_received": len(payload["data"]), "num_invalid_entries": 0})


class TiktokAds(AdsVendor):
    throttled = Reply(200, b'{"code": 40100, "message": "Too many requests"}')

    def take(self, path: str, got: Got) -> Reply:
        assert got.headers["access-token"] == "secret-token"
        path = path.removeprefix("/business-api.tiktok.com/open_api/v1.3")
        if path == "/dmp/custom_audience/list/":
            audiences = [{"audience_id": id, "name": name} for name, id in self.ids_by_name.items()]
            return answer({"code": 0, "data": {"list": audiences}})
        if path == "/segment/audience/":
            return answer({"code": 0, "data": {"audience_id": self.create(got.json["custom_audience_name"])}})
        assert (path, got.json["advertiser_ids"]) == ("/segment/mapping/", ["12"])
        for (entry,) in got.json["batch_data"]:
            (id,) = entry["audience_ids"]
            self.move(id, [entry["id"]], entering=got.json["action"] == "add")
        return answer({"code": 0, "message": "OK"})


class LinkedinAds(AdsVendor):
    def take(self, path: str, got: Got) -> Reply:
        if path == "/www.linkedin.com/oauth/v2/accessToken":
            return self.token(got)
        if not self.admits(got):
            return Reply(401, b"the token has ended")
        assert got.headers["linkedin-version"]
        path = path.removeprefix("/api.linkedin.com/rest/dmpSegments")
        if path == "" and got.method == "GET":
            assert parse_qs(urlsplit(got.path).query)["account"] == ["urn:li:sponsoredAccount:12"]
            return answer({"elements": [{"id": int(id), "name": name} for name, id in self.ids_by_name.items()]})
        if path == "":
            return Reply(201, b"", {"X-RestLi-Id": self.create(got.json["name"])})
        assert got.headers["x-restli-method"] == "BATCH_CREATE"
        for element in got.json["elements"]:
            (id,) = element["userIds"]
            self.move(path.split("/")[1], [id["idValue"]], entering=element["action"] == "ADD")
        return answer({"elements": [{"status": 201} for _ in got.json["elements"]]})


class SnapchatAds(AdsVendor):
    def take(self, path: str, got: Got) -> Reply:
        if path == "/accounts.snapchat.com/login/oauth2/access_token":
            return self.token(got)
        if not self.admits(got):
            return Reply(401, b"the token has ended")
        path = path.removeprefix("/adsapi.snapchat.com/v1")
        if path == "/adaccounts/12/segments":
            if got.method == "POST":
                (segment,) = got.json["segments"]
                self.create(segment["name"])
            segments = [{"segment": {"id": id, "name": name}} for name, id in self.ids_by_name.items()]
            return answer({"segments": segments})
        (users,) = got.json["users"]
        self.move(path.split("/")[2], [hash for (hash,) in users["data"]], entering=got.method == "POST")
        return answer({"request_status": "SUCCESS"})


class GoogleAds(AdsVendor):
    def take(self, path: str, got: Got) -> Reply:
        if path == "/oauth2.googleapis.com/token":
            return self.token(got)
        if not self.admits(got):
            return Reply(401, b"the token has ended")
        assert got.json["encoding"] == "HEX"
        (destination,) = got.json["destinations"]
        assert destination["operatingAccount"] == {"accountType": "GOOGLE_ADS", "accountId": "1234567890"}
        entering = path == "/datamanager.googleapis.com/v1/audienceMembers:ingest"
        assert entering or path == "/datamanager.googleapis.com/v1/audienceMembers:remove"
        if destination["productDestinationId"] not in self.inside:
            self.create("a list of theirs")
        identifiers = [member["userData"]["userIdentifiers"][0] for member in got.json["audienceMembers"]]
        self.move(destination["productDestinationId"], [one["emailAddress"] for one in identifiers], entering=entering)
        return answer({"requestId": "1"})


class Salesforce(AdsVendor):
    """Its contacts are everybody whom it does not have to refuse."""

    refuses = True

    def take(self, path: str, got: Got) -> Reply:
        path = path.removeprefix("/acme.my.salesforce.com")
        if path == "/services/oauth2/token":
            return self.token(got)
        if not self.admits(got):
            return Reply(401, b"the token has ended")
        path = path.removeprefix("/services/data/v62.0")
        query = parse_qs(urlsplit(got.path).query)
        if path == "/query":
            return answer({"records": self.records(query["q"][0])})
        if path == "/sobjects/Campaign":
            return answer({"id": self.create(got.json["Name"]), "success": True}, 201)
        assert path == "/composite/sobjects"
        if got.method == "DELETE":
            for id in query["ids"][0].split(","):
                campaign, _, contact = id.partition("m")
                self.inside[campaign].discard(contact)
            return answer([{"success": True} for _ in query["ids"][0].split(",")])
        if got.method == "PATCH":  # fields of contacts
            for record in got.json["records"]:
                assert record.pop("attributes") == {"type": "Contact"}
                self.write(self.people[record.pop("id")], record)
            return answer([{"success": True} for _ in got.json["records"]])
        return answer([self.add(record) for record in got.json["records"]])

    def records(self, query: str) -> list[dict[str, Any]]:
        named = re.findall(r"'(.*?)'", query)
        if "FROM Campaign " in query:
            return [{"Id": id} for name, id in self.ids_by_name.items() if name in named]
        if "FROM Contact " in query:
            return [{"Id": self.know(email), "Email": email} for email in named if email not in self.bad]
        campaign, *emails = named
        inside = self.inside[campaign]
        return [
            {"Id": f"{campaign}m{id}", "ContactId": id, "Contact": {"Email": self.people[id]}}
            for id in inside
            if self.people[id] in emails or "Contact.Email IN" not in query
        ]

    def add(self, record: dict[str, Any]) -> dict[str, Any]:
        inside = self.inside[record["CampaignId"]]
        if record["ContactId"] in inside:
            return {"success": False, "errors": [{"statusCode": "DUPLICATE_VALUE", "message": "Already a member"}]}
        inside.add(record["ContactId"])
        return {"success": True, "errors": []}


OAUTH = {"clientId": "client", "clientSecret": "client-secret"}
REFRESHED = OAUTH | {"refreshToken": "refresh-token"}

# kind -> (the tool, settings, options of an audience)
LISTS: dict[str, tuple[type[ListVendor], dict[str, Any], dict[str, Any]]] = {
    "google_ads": (GoogleAds, {**REFRESHED, "customerId": "1234567890"}, {"userListId": "40"}),
    "linkedin_ads": (LinkedinAds, {**REFRESHED, "adAccountId": "12"}, {"listName": "Shoppers"}),
    "meta_ads": (MetaAds, {"accessToken": "secret-token", "adAccountId": "12"}, {"listName": "Shoppers"}),
    "salesforce": (
        Salesforce,
        {**OAUTH, "domain": "https://acme.my.salesforce.com/"},
        {"campaign": "Shoppers"},
    ),
    "snapchat_ads": (SnapchatAds, {**REFRESHED, "adAccountId": "12"}, {"listName": "Shoppers"}),
    "tiktok_ads": (TiktokAds, {"accessToken": "secret-token", "advertiserId": "12"}, {"listName": "Shoppers"}),
    "hubspot": (HubspotLists, {"accessToken": "secret-token"}, {"listName": "Shoppers & more"}),
    "iterable": (
        IterableLists,
        {"apiKey": "secret-key", "region": "EU", "identifyBy": "user ID"},
        {"listName": "Shoppers"},
    ),
    "klaviyo": (KlaviyoLists, {"apiKey": "pk_secret"}, {"listName": 'Shoppers "2"'}),
    "sendgrid": (SendgridLists, {"apiKey": "SG.secret", "region": "EU"}, {"listName": "Shoppers"}),
}


# kind -> (the tool, settings, options of an audience, options of a computed trait)
VENDORS: dict[str, tuple[type[Vendor], dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    "activecampaign": (
        Activecampaign,
        {"apiUrl": "https://yours.api-us1.com/", "apiKey": "secret-key"},
        {"fieldId": "7"},
        {"fieldId": "8"},
    ),
    "amplitude": (Amplitude, {"apiKey": "secret-key", "region": "EU"}, {}, {}),
    "braze": (Braze, {"apiKey": "secret-key", "instance": "EU-01"}, {}, {}),
    "braze_cohorts": (
        BrazeCohorts,
        {"partner": "personas", "partnerKey": "partner-secret", "importKey": "import-secret", "instance": "EU-01"},
        {},
        {},
    ),
    "customerio": (
        Customerio,
        {"siteId": "site", "apiKey": "secret-key", "region": "EU", "appApiKey": "app-secret"},
        {},
        {},
    ),
    "ga4": (
        Ga4,
        {"measurementId": "G-1", "apiSecret": "secret-key", "region": "EU"},
        {"userProperty": "shopper"},
        {},
    ),
    "hubspot": (Hubspot, {"accessToken": "secret-token"}, {}, {}),
    "iterable": (Iterable, {"apiKey": "secret-key", "region": "EU", "identifyBy": "user ID"}, {}, {}),
    "klaviyo": (Klaviyo, {"apiKey": "pk_secret"}, {}, {}),
    "intercom": (Intercom, {"accessToken": "secret-token", "region": "EU", "createContacts": True}, {}, {}),
    "mailchimp": (
        Mailchimp,
        {"apiKey": "secret-us12", "audienceId": "a1b2"},
        {"mergeTag": "SHOPPER", "tag": "Shoppers"},
        {"mergeTag": "SPENT"},
    ),
    "mixpanel": (Mixpanel, {"projectToken": "secret-token", "region": "EU"}, {}, {}),
    "posthog": (Posthog, {"projectKey": "phc_secret", "region": "EU"}, {}, {}),
    "segment_http": (
        SegmentHttp,
        {"writeKey": "secret-key", "receiver": "other", "server": "https://events.example.com/"},
        {},
        {"sendTrack": True},
    ),
    "sendgrid": (Sendgrid, {"apiKey": "SG.secret", "region": "EU"}, {"fieldId": "e1_T"}, {"fieldId": "e2_N"}),
    "slack": (Slack, {"webhookUrl": "https://hooks.slack.com/services/T/B/secret"}, {}, {}),
    "teams": (Teams, {"webhookUrl": "https://example.com/workflow"}, {}, {}),
}

HOOKS: dict[str, dict[str, Any]] = {
    "webhook": {"url": "https://example.com/hook", "style": "event"},
    "webhook list": {"url": "https://example.com/hook", "style": "list", "batchSize": 4},
}

HOST_KEY = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOA1Kg75RDvi6PBQaY/xzX7T+/1xNAQWcwPSta9fh8DF"
KEYS = {"accessKeyId": "AKIA", "secretAccessKey": "secret-key"}
DATABASE = {"host": "db.example.com", "database": "crm", "user": "writer", "password": "correct-horse"}
# kind -> settings that can be saved
SETTINGS: dict[str, dict[str, Any]] = {
    **{kind: settings for kind, (_, settings, *_) in [*LISTS.items(), *VENDORS.items()]},
    "webhook": HOOKS["webhook"],
    "catcher": {},
    "postgresql": DATABASE,
    "mysql": DATABASE,
    "clickhouse": {"url": "https://clickhouse.example.com:8443", "password": "correct-horse"},
    "s3": {"bucket": "people", "endpoint": "https://s3.example.com", **KEYS},
    "sftp": {
        "host": "files.example.com",
        "user": "personas",
        "hostKey": HOST_KEY,
        "password": "correct-horse",
    },
    "kafka": {"brokers": "a.example.com:9093, b.example.com:9093", "topic": "people", "user": "u", "password": "horse"},
}
