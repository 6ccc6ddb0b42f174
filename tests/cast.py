"""The people that every page and every route is tried with: two workspaces, and each kind of person in the first."""

import json
import re
from dataclasses import dataclass, field
from html import unescape
from typing import Any

from django.conf import settings
from django.test import Client

from access import roles, services
from access.models import Membership, User
from spaces.models import Space, Workspace
from tests.factories import SpaceFactory, UserFactory, WorkspaceFactory

PASSWORD = "correct horse battery staple"
PEOPLE = ("owner", "admin", "user", "read_only", "member", "stranger", "nobody")


@dataclass
class Cast:
    """`owner` owns the workspace; `admin`, `user` and `read_only` have that role in `space`; `member` has none.

    `stranger` owns the other workspace, with its `other_space`; `nobody` is not signed in.
    """

    workspace: Workspace
    space: Space
    other_workspace: Workspace
    other_space: Space
    people: dict[str, User]
    tokens: dict[str, str] = field(default_factory=dict)
    sessions: dict[str, str] = field(default_factory=dict)

    def browser(self, who: str) -> Client:
        """A browser in which this person is signed in."""
        client = Client()
        if who != "nobody":
            client.force_login(self.people[who], backend="django.contrib.auth.backends.ModelBackend")
        return client

    def window(self, who: str) -> Client:
        """One more window of a browser in which they signed in before: to sign in anew would cost most of a request."""
        cookie, client = settings.SESSION_COOKIE_NAME, Client()
        if who != "nobody":
            if who not in self.sessions:
                self.sessions[who] = self.browser(who).cookies[cookie].value
            client.cookies[cookie] = self.sessions[who]
        return client

    def bearer(self, who: str) -> dict[str, str]:
        """The header of an API client of this person: of the stranger, in the other workspace."""
        if who == "nobody":
            return {}
        if who not in self.tokens:
            workspace = self.other_workspace if who == "stranger" else self.workspace
            _, secret = services.create_token(workspace, self.people[who], name="test", by=services.COMMAND)
            self.tokens[who] = secret
        return {"authorization": f"Bearer {self.tokens[who]}"}

    def call(self, who: str, method: str, path: str, body: Any = None) -> Any:
        """What the API answers this person."""
        return Client().generic(
            method,
            path,
            data="" if body is None else json.dumps(body),
            content_type="application/json",
            headers=self.bearer(who),
        )


def make_cast() -> Cast:
    workspace, other = WorkspaceFactory(), WorkspaceFactory()
    space = SpaceFactory(workspace=workspace)
    people = {who: UserFactory.build(email=f"{who}-{workspace.pk}@example.com") for who in PEOPLE if who != "nobody"}
    User.objects.bulk_create(people.values())  # together, as hundreds of tests begin with them
    Membership.objects.bulk_create(
        Membership(
            workspace=other if who == "stranger" else workspace,
            user=user,
            role=roles.OWNER if who in ("owner", "stranger") else roles.MEMBER,
        )
        for who, user in people.items()
    )
    for who in roles.SPACE_ROLES:
        services.grant(space, people[who], who, by=people["owner"])
    return Cast(workspace, space, other, SpaceFactory(workspace=other), people)


def words(answer: Any) -> str:
    """The text of a page as somebody reads it: without tags, and blanks made one."""
    return re.sub(r"\s+", " ", unescape(re.sub(r"<[^>]+>", " ", answer.content.decode())))
