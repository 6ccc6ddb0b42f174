"""What real client libraries were recorded to send, sent again: all of it is archived, and retries once."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from sources import collect
from sources.collect_urls import urls
from sources.models import Reject, Source
from tests.factories import WriteKeyFactory
from tests.factories_sources import archive_all, archived, tally

pytestmark = pytest.mark.django_db

FOLDER = Path(__file__).parent.parent / "recordings"
LIBRARIES = sorted(path.stem for path in FOLDER.glob("*.json") if path.stem != "server-answers")
urlpatterns = urls(lambda source: None)


@pytest.fixture(autouse=True)
def routes(settings: Any) -> None:
    settings.ROOT_URLCONF = __name__
    collect.forget_write_keys()


def recorded(library: str) -> list[dict[str, Any]]:
    """Every POST of the library, in order."""
    requests = json.loads((FOLDER / f"{library}.json").read_text())["requests"]
    return [sent for calls in requests.values() for sent in calls if sent["method"] == "POST"]


def send_again(client: Any, sent: dict[str, Any]) -> Any:
    body = json.dumps(sent["body"]).encode()
    headers = {name: value for name, value in sent["headers"].items() if name not in ("content-type", "content-length")}
    return client.post(
        sent["path"],
        data=gzip.compress(body) if sent.get("body_was_gzip") else body,
        content_type=sent["headers"].get("content-type", ""),
        headers=headers,
    )


def source_of(sent: dict[str, Any]) -> Source:
    key = sent["authorization_decoded"].partition(":")[0]
    return (Source.objects.filter(write_keys__key=key).first()) or WriteKeyFactory(key=key).source


def messages(sent: dict[str, Any]) -> list[dict[str, Any]]:
    return sent["body"].get("batch", [sent["body"]])


@pytest.mark.parametrize("library", LIBRARIES)
def test_every_recorded_message_is_archived_once(client, library):
    sources, ids = {}, set()
    for sent in recorded(library):
        source = source_of(sent)
        sources[source.pk] = source
        assert send_again(client, sent).status_code == 200
        ids |= {message["messageId"] for message in messages(sent)}
    for source in sources.values():
        archive_all(source)
    assert list(Reject.objects.values_list("code", "path")) == []
    stored = [row["message_id"] for source in sources.values() for row in archived(source)]
    assert sorted(stored) == sorted(ids)
    sent_in_all = sum(len(messages(sent)) for sent in recorded(library))
    assert sum(sum(tally(source)) for source in sources.values()) == sent_in_all


@pytest.mark.parametrize("library", LIBRARIES)
def test_what_was_sent_is_what_is_stored(client, library):
    for sent in recorded(library):
        source = source_of(sent)
        send_again(client, sent)
        archive_all(source)
        stored = {row["message_id"]: row["message"] for row in archived(source)}
        for message in messages(sent):
            kept = stored[message["messageId"]]
            for field in ("userId", "anonymousId", "groupId", "previousId", "event", "properties", "context"):
                assert kept.get(field) == message.get(field) or field == "context"
            assert message.get("context", {}).items() <= kept["context"].items()


def test_answers_are_those_the_libraries_were_recorded_with(client):
    answers = json.loads((FOLDER / "server-answers.json").read_text())
    key = WriteKeyFactory().key
    good = client.post(f"/v1/batch?writeKey={key}", data=b'{"batch":[]}', content_type="text/plain")
    assert (good.status_code, good.json()) == (answers["ingest_ok"]["status"], answers["ingest_ok"]["body"])
    bad = client.post("/v1/batch?writeKey=x", data=b'{"batch":[]}', content_type="text/plain")
    assert (bad.status_code, bad.json()) == (answers["ingest_error"]["status"], answers["ingest_error"]["body"])
