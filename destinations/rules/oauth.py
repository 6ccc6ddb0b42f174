"""PURE. Tokens by OAuth 2 (RFC 6749): client credentials and refresh tokens, given by a step and sent as bearers."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any
from urllib.parse import urlencode

from destinations.rules.contract import (
    AdapterStep,
    CallOutcome,
    DestinationRequest,
    PayloadComputation,
    RememberedAnswer,
    outcome_of,
)
from destinations.rules.vendors import decoded
from spaces.answers import Answer
from spaces.settings_schema import SettingsDeclaration, secret, text

TOKEN, REFRESH = "access_token", "refresh_token"
HOUR_S = 3600.0  # for a tool that does not say how long its token lasts


def token_step(url: Callable[[Any], str], form: Callable[[Any, Mapping[str, str]], Mapping[str, str]]) -> AdapterStep:
    """The step that gives `access_token`. url(settings). form(settings, remembered) -> what is posted.

    A refresh token that comes with it takes the place of the one in the settings from then on.
    """

    def ask(about: PayloadComputation, settings: Any, options: Any, now: datetime) -> DestinationRequest:
        body = urlencode(form(settings, about.remembered)).encode()
        headers = {"content-type": "application/x-www-form-urlencoded", "accept": "application/json"}
        return DestinationRequest(id=TOKEN, rows=[], url=url(settings), headers=headers, body=body)

    return AdapterStep(TOKEN, ask, read_token, of="destination")


class RefreshedSettings(SettingsDeclaration, frozen=True):
    """Of a tool that was authorised once, in a browser, and since then gives tokens for a refresh token."""

    client_id: Annotated[str, text("Client ID")]
    client_secret: Annotated[str, secret("Client secret")]
    refresh_token: Annotated[str, secret("Refresh token")]


def refresh_step(url: str) -> AdapterStep:
    """The token step of `RefreshedSettings`."""

    def form(settings: RefreshedSettings, remembered: Mapping[str, str]) -> dict[str, str]:
        keys = {"client_id": settings.client_id, "client_secret": settings.client_secret}
        # The newest counts: a tool that gives a new one with each token takes the old one no more.
        return {"grant_type": "refresh_token", **keys, REFRESH: remembered.get(REFRESH, settings.refresh_token)}

    return token_step(lambda settings: url, form)


def read_token(request: DestinationRequest, answer: Answer) -> RememberedAnswer | CallOutcome:
    """400 and 401 say that the keys are not right: nobody gets in until they are changed."""
    # RFC 6749, 5.2: a wrong secret, and a refresh token that was called back, are a 400.
    if answer.status in {400, 401, 403}:
        return CallOutcome("suspended", f"No token was given: {answer.status} {answer.text()}")
    if not answer.ok:
        return outcome_of(answer)
    content = decoded(answer.body)
    names = [name for name in (TOKEN, REFRESH) if isinstance(content.get(name), str)]
    # Recommended there, not required.
    lasts = content.get("expires_in")
    return RememberedAnswer({name: content[name] for name in names}, float(lasts) if isinstance(lasts, int) else HOUR_S)


def bearer(request: DestinationRequest, remembered: Mapping[str, str]) -> DestinationRequest:
    """With the token, once there is one."""
    token = {"authorization": f"Bearer {remembered[TOKEN]}"} if TOKEN in remembered else {}
    return replace(request, headers={**request.headers, **token})
