"""The inbox, where a request is committed before anybody is told that it was accepted."""

from dataclasses import dataclass

from django.db import connection

from sources.spec import SOURCE_DISABLED


@dataclass(frozen=True)
class Sender:
    """Whose write key it is."""

    source_id: int
    workspace_id: int
    enabled: bool


def keep(sender: Sender, *, call: str, body: bytes) -> None:
    """The request is in the inbox, received at this moment by the database's clock.

    Raises IntegrityError when the source was deleted a moment ago.
    """
    refused = "" if sender.enabled else SOURCE_DISABLED
    with connection.cursor() as cursor:
        cursor.execute(
            """INSERT INTO sources_inbox (workspace_id, source_id, call, body, received_at, refused, taken)
               VALUES (%s, %s, %s, %s, clock_timestamp(), %s, false)""",
            [sender.workspace_id, sender.source_id, call, body, refused],
        )
