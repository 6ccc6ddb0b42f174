"""Mailchimp: a merge field and a tag of each member of one audience there, by which segments and journeys choose."""

from collections.abc import Callable
from datetime import datetime
from functools import partial
from hashlib import md5
from typing import Annotated, Any, Literal
from urllib.parse import urlencode

from destinations.rules.contract import (
    DELIVERED,
    Adapter,
    AdapterStep,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    DocumentedLimit,
    FieldNames,
    MembersPage,
    MembersReading,
    PayloadComputation,
    RememberedAnswer,
    outcome_of,
    read_by_status,
    test_id,
)
from destinations.rules.lists import list_steps
from destinations.rules.vendors import (
    as_text,
    basic,
    decoded,
    id_of_named,
    in_small_letters,
    json_request,
    looked_up,
    value_of,
)
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret, text

LONGEST_MERGE_TAG = 10  # mailchimp.com/help/manage-audience-signup-form-fields, November 2026
LEAVE_OUT = "leave out"
READ = 1000  # members in an answer, at most
NEW_HELP = (
    "People who are no members yet. transactional: they get no campaigns. subscribed: only with their consent. Nobody "
    "who has unsubscribed is subscribed again"
)


class MailchimpSettings(SettingsDeclaration, frozen=True):
    api_key: Annotated[str, secret("API key", help="It ends with the data center, such as -us12")]
    audience_id: Annotated[str, text("Audience ID", help="In Mailchimp: Audience, Settings; such as a1b2c3d4e5")]
    new_people: Annotated[Literal["leave out", "transactional", "subscribed"], label("New people", help=NEW_HELP)] = (
        "leave out"
    )

    def check(self) -> None:
        # The data center in the key is the host that is called.
        if not self.api_key.rpartition("-")[2].isalnum() or "-" not in self.api_key:
            raise InvalidSetting("apiKey", "The key ends with a data center, such as -us12")
        if not self.audience_id.isalnum():
            raise InvalidSetting("audienceId", "The ID of an audience has letters and digits alone")


class MailchimpTraitOptions(SettingsDeclaration, frozen=True):
    merge_tag: Annotated[
        str, text("Merge tag", help="Of at most 10 capitals, digits and _; its field is created when there is none")
    ] = ""

    def check(self) -> None:
        if not self.merge_tag:
            raise InvalidSetting("mergeTag", "Give a merge tag of at most 10 characters, such as ORDERS")
        if len(self.merge_tag) > LONGEST_MERGE_TAG:
            raise InvalidSetting("mergeTag", f"Mailchimp takes merge tags of at most {LONGEST_MERGE_TAG} characters")
        if not self.merge_tag.replace("_", "").isalnum() or self.merge_tag != self.merge_tag.upper():
            raise InvalidSetting("mergeTag", "A merge tag has capitals, digits and _ alone")


class MailchimpOptions(MailchimpTraitOptions, frozen=True):
    tag: Annotated[str, text("Tag", help="Put on whoever enters, and taken from whoever leaves", max_length=100)] = ""

    def check(self) -> None:
        if self.merge_tag or not self.tag:
            super().check()


def plan(
    changes: Changes,
    about: PayloadComputation,
    settings: MailchimpSettings,
    options: MailchimpOptions | MailchimpTraitOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """Requests for each row: a batch would have to say anew whether people are subscribed."""
    requests = []
    tag = getattr(options, "tag", "")
    for change in changes:
        email = str(change.address.email).lower()
        # Mailchimp knows members by the MD5 of the address in small letters.
        member = f"/members/{md5(email.encode()).hexdigest()}"
        # Whoever leaves must not be created for it.
        creates = change.entering and settings.new_people != LEAVE_OUT
        content: dict[str, Any] = {"email_address": email, "status_if_new": settings.new_people} if creates else {}
        merge_fields = {name: as_text(value) for name, value in change.fields.items()}
        if options.merge_tag:
            merge_fields[options.merge_tag] = as_text(value_of(change, about))
        if merge_fields:
            content["merge_fields"] = merge_fields
        if content:
            # PATCH changes members alone: PUT would make one of whoever is not.
            # skip_merge_validation: else members are refused for want of other fields that the audience requires.
            path, method = f"{member}?skip_merge_validation=true", "PUT" if creates else "PATCH"
            requests.append(_call(settings, path, content, f"{change.id}-member", [change], method))
        if tag:
            tags = {"tags": [{"name": tag, "status": "active" if change.entering else "inactive"}]}
            requests.append(_call(settings, f"{member}/tags", tags, f"{change.id}-tag", [change], "POST"))
    return requests


def _call(
    settings: MailchimpSettings, path: str, content: Any, id: str, rows: Changes, method: str
) -> DestinationRequest:
    url = f"https://{settings.api_key.rpartition('-')[2]}.api.mailchimp.com/3.0/lists/{settings.audience_id}{path}"
    headers = basic("personas", settings.api_key)
    if content is None:
        return DestinationRequest(id, rows, method, url, headers)
    return json_request(url, content, id=id, rows=rows, headers=headers, method=method)


def _members(
    about: PayloadComputation,
    settings: MailchimpSettings,
    options: MailchimpOptions | MailchimpTraitOptions,
    following: str,
) -> DestinationRequest | None:
    """Of a tag, which is a segment with an id of its own. Who has a value in a merge field cannot be asked.

    mailchimp.com/developer, "Tag search" and "List members in segment", November 2026.
    """
    tag = getattr(options, "tag", "")
    if not tag:
        return None
    if not following:
        # The name is the request's id: tags that begin with it are answered as well.
        return _call(settings, f"/tag-search?{urlencode({'name': tag})}", None, tag, [], "GET")
    segment, offset = following.split(" ")
    # Left out by default, and yet they have the tag.
    everybody = {f"include_{status}": "true" for status in ("cleaned", "transactional", "unsubscribed")}
    query = {"fields": "members.email_address,total_items", "count": READ, "offset": offset, **everybody}
    return _call(settings, f"/segments/{segment}/members?{urlencode(query)}", None, following, [], "GET")


def _members_page(request: DestinationRequest, answer: Answer) -> MembersPage:
    if "/tag-search" in request.url:
        id = id_of_named(looked_up(answer, "tags"), request.id)
        # A tag that nobody ever had is not there.
        return MembersPage([], f"{id} 0" if id else "")
    emails = [entry["email_address"].lower() for entry in looked_up(answer, "members")]
    segment, offset = request.id.split(" ")
    read = int(offset) + len(emails)
    return MembersPage(emails, f"{segment} {read}" if emails and read < decoded(answer.body)["total_items"] else "")


def read(request: DestinationRequest, answer: Answer) -> list[CallOutcome]:
    """404 is about the member: whether the audience is there, the first step has asked."""
    if answer.status == 404:
        unknown = CallOutcome("refused", "Is no member of the audience in Mailchimp")
        return [unknown if row.entering else DELIVERED for row in request.rows]
    return read_by_status(request, answer)


def _merge_field_steps(gives: str, name: Callable[[Any], str]) -> tuple[AdapterStep, AdapterStep]:
    """A merge field is looked for by its tag, and created. name(options) -> the tag; "" = none is needed."""
    return list_steps(
        # The most that it gives at once; without a count it gives ten.
        lambda settings, tag: _call(settings, "/merge-fields?count=1000", None, "", [], "GET"),
        lambda answer, tag: id_of_named(looked_up(answer, "merge_fields"), tag, "merge_id", called="tag"),
        lambda settings, tag: _call(
            settings, "/merge-fields", {"tag": tag, "name": tag, "type": "text"}, "", [], "POST"
        ),
        lambda answer: decoded(answer.body).get("merge_id"),
        name=lambda about, options: name(options),
        gives=gives,
    )


def _always(tag: str, options: Any) -> str:
    return tag


def _is_there(request: DestinationRequest, answer: Answer) -> RememberedAnswer | CallOutcome:
    if answer.status == 404:
        return CallOutcome("suspended", "Mailchimp has no audience with this ID")
    return RememberedAnswer({"audience": "there"}) if answer.ok else outcome_of(answer)


def test(settings: MailchimpSettings, now: datetime) -> DestinationRequest:
    """Asks for the audience."""
    return _call(settings, "?fields=id", None, test_id(now), [], "GET")


adapter = Adapter(
    kind="mailchimp",
    label="Mailchimp",
    description="Sets a merge field of each member of an audience there, and tags them, by their e-mail address.",
    settings=MailchimpSettings,
    options=MailchimpOptions,
    trait_options=MailchimpTraitOptions,
    capabilities=Capabilities(
        styles=("event",),
        batch=100,
        per_second=10,
        concurrency=4,
        identifiers=("email",),
        fields=FieldNames(
            rf"(?!EMAIL$)[A-Z0-9_]{{1,{LONGEST_MERGE_TAG}}}",
            f"A merge tag: at most {LONGEST_MERGE_TAG} capitals, digits and _, and not EMAIL",
        ),
        limits=(
            DocumentedLimit(10, "requests at the same time", "2026-11", "mailchimp.com/developer, Fundamentals"),
            DocumentedLimit(LONGEST_MERGE_TAG, "characters of a merge tag", "2026-11", "mailchimp.com/help"),
        ),
    ),
    plan=plan,
    read=read,
    test=test,
    steps=(
        AdapterStep("audience", lambda about, settings, options, now: test(settings, now), _is_there, of="destination"),
        *_merge_field_steps("merge_field", lambda options: options.merge_tag),
    ),
    field_steps=lambda about: [
        step for tag in about.fields for step in _merge_field_steps(f"merge_field {tag}", partial(_always, tag))
    ],
    members=MembersReading(_members, _members_page, in_small_letters, "e-mail address", wants="Choose a tag for it"),
    credentials="In Mailchimp: your profile, Extras, API keys, Create a key.",
)
