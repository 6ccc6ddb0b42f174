"""Braze Cohorts: whoever is in the audience, by user ID, as a cohort by which segments choose.

Braze lets its partners alone import cohorts, and gives each a name and a key of its own.
"""

from datetime import datetime
from typing import Annotated, Any

from destinations.adapters.braze import HOSTS, Instance
from destinations.rules.advertising import by_direction
from destinations.rules.contract import (
    Adapter,
    AdapterStep,
    CallOutcome,
    Capabilities,
    Changes,
    DestinationRequest,
    PayloadComputation,
    RememberedAnswer,
    outcome_of,
    test_id,
)
from destinations.rules.lists import LONGEST_NAME
from destinations.rules.payloads import batch_id
from destinations.rules.vendors import json_request
from spaces.answers import Answer
from spaces.settings_schema import InvalidSetting, SettingsDeclaration, label, secret, text


class BrazeCohortsSettings(SettingsDeclaration, frozen=True):
    partner: Annotated[str, text("Partner", help="The name that Braze gave you as its partner, as in its addresses")]
    partner_key: Annotated[str, secret("Partner API key", help="It is for clusters of the US, or for those of the EU")]
    import_key: Annotated[
        str, secret("Data import key", help="In Braze: Partner integrations, Technology partners, your own entry")
    ]
    instance: Annotated[Instance, label("Instance", help="As in the address of your dashboard: dashboard-01 is US-01")]

    def check(self) -> None:
        if not self.partner.replace("-", "").replace("_", "").isalnum():  # it becomes part of an address
            raise InvalidSetting("partner", "Letters, digits, - and _ alone")


class BrazeCohortsOptions(SettingsDeclaration, frozen=True):
    cohort: Annotated[
        str, text("Cohort", help="Its name over there. Empty: the name of the audience", max_length=LONGEST_NAME)
    ] = ""


def plan(
    changes: Changes,
    about: PayloadComputation,
    settings: BrazeCohortsSettings,
    options: BrazeCohortsOptions,
    now: datetime,
) -> list[DestinationRequest]:
    """One request for all. Whom Braze does not know it leaves out, and says nothing of it."""
    # Leaves come first: who is in both, is in.
    cohort_changes = [
        {"user_ids": [row.address.user_id for row in rows], "should_remove": not entering}
        for entering, rows in by_direction(changes)
    ]
    content = {"cohort_id": about.id, "cohort_changes": cohort_changes}
    return [_post(settings, "cohorts/users", content, id=batch_id(changes), rows=changes)]


def _create(
    about: PayloadComputation, settings: BrazeCohortsSettings, options: BrazeCohortsOptions, now: datetime
) -> DestinationRequest:
    # The id is ours to choose, so that one made before the answer was kept is found again.
    content = {"cohort_id": about.id, "name": options.cohort or about.name[:LONGEST_NAME]}
    return _post(settings, "cohorts", content, id=about.id, rows=[])


def _created(request: DestinationRequest, answer: Answer) -> RememberedAnswer | CallOutcome:
    return RememberedAnswer({"cohort": "there"}) if answer.ok else outcome_of(answer)


def _post(
    settings: BrazeCohortsSettings, path: str, content: dict[str, Any], *, id: str, rows: Changes
) -> DestinationRequest:
    keys = {"client_secret": settings.import_key, "partner_api_key": settings.partner_key}
    url = f"https://{HOSTS[settings.instance]}/partners/{settings.partner}/{path}"
    return json_request(url, keys | content, id=id, rows=rows)


def test(settings: BrazeCohortsSettings, now: datetime) -> DestinationRequest:
    """Creates a cohort without anybody: there is no call that only asks."""
    content = {"cohort_id": "personas-test", "name": "Personas test"}
    return _post(settings, "cohorts", content, id=test_id(now), rows=[])


adapter = Adapter(
    kind="braze_cohorts",
    label="Braze Cohorts",
    description="Keeps a cohort of the users that Braze knows, by user ID; for partners of Braze.",
    settings=BrazeCohortsSettings,
    options=BrazeCohortsOptions,
    capabilities=Capabilities(
        styles=("list",),
        batch=1000,  # assumed: the page on importing cohorts names no limit
        identifiers=("user_id",),
        fields=None,
    ),
    plan=plan,
    test=test,
    steps=(AdapterStep("cohort", _create, _created),),
    credentials=(
        "Braze gives its partners a name and a Partner API key. In Braze: Partner integrations, Technology partners, "
        "the partner's entry: generate the data import key."
    ),
)
