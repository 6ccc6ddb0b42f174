"""What a restore refuses before it touches anything, and what waits while a backup is made."""

import json
from datetime import timedelta

import pytest
import zstandard

from personas_site import backup, keys, pipeline
from personas_site.backup import NotDone, _checked, _portions
from sources.events import client
from sources.events.migrate import known
from sources.events.schema import ARCHIVE
from sources.events.sql import sql
from spaces.batches import ERASING, Locks, Visible
from spaces.clock import clock
from spaces.models import Deletion
from tests.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def copy(tmp_path):
    (tmp_path / backup.DUMP).write_bytes(b"a dump")
    backup._write_manifest(tmp_path, {"archive": 0})
    return tmp_path


def changed(copy, **fields):
    manifest = json.loads((copy / backup.MANIFEST).read_text())
    (copy / backup.MANIFEST).write_text(json.dumps(manifest | fields))


def test_a_whole_one_is_taken(copy):
    assert _checked(copy, print)["eventMigrations"] == sorted(each.name for each in known())


def test_a_folder_that_is_none(tmp_path):
    with pytest.raises(NotDone, match="is no backup"):
        _checked(tmp_path, print)


def test_a_damaged_file(copy):
    (copy / backup.DUMP).write_bytes(b"a dumq")
    with pytest.raises(NotDone, match=r"postgresql.dump is damaged"):
        _checked(copy, print)


def test_a_missing_file(copy):
    (copy / backup.DUMP).unlink()
    with pytest.raises(NotDone, match=r"postgresql.dump is missing"):
        _checked(copy, print)


def test_one_of_a_newer_release(copy):
    changed(copy, eventMigrations=["0999_later"])
    with pytest.raises(NotDone, match=r"newer release \(0999_later\)"):
        _checked(copy, print)


def test_one_of_another_format(copy):
    changed(copy, format=backup.FORMAT + 1)
    with pytest.raises(NotDone, match="another release"):
        _checked(copy, print)


def test_one_whose_secrets_our_keys_do_not_open(copy, settings):
    settings.FIELD_KEYS = ["another"]
    with pytest.raises(NotDone, match="none of PERSONAS_FIELD_KEYS opens"):
        _checked(copy, print)
    changed(copy, fieldKeys=keys.field_keys())
    _checked(copy, print)


def test_a_folder_that_exists_is_not_written_to(tmp_path):
    with pytest.raises(NotDone, match="exists"):
        backup.backup(tmp_path, with_keys=False, say=print)


def test_portions_lose_no_batch(monkeypatch):
    monkeypatch.setattr(backup, "ROWS", 10)
    batches = [(1, 1, 4), (1, 2, 7), (1, 5, 25), (2, 1, 3), (3, 9, 3)]
    assert list(_portions(batches)) == [((1, 1), (1, 2), 11), ((1, 5), (1, 5), 25), ((2, 1), (3, 9), 6)]
    assert list(_portions([])) == []


def test_deletions_wait_for_a_backup():
    workspace = WorkspaceFactory()
    deletion = Deletion.objects.create(workspace=workspace, kind=Deletion.TargetKind.SPACE, target=1, name="Gone")
    work = pipeline.WORK["deletion"]

    def served():
        with Locks() as locks:
            return pipeline._serve(("deletion", deletion.pk), workspace.pk, locks, lambda *_: True)

    assert deletion.pk in work.waiting(clock.now() + timedelta(days=1))
    with Locks() as copying:
        assert copying.take(ERASING)
        assert not served()
    assert served()


def test_only_what_was_committed_is_copied(tmp_path):
    """Not what is under abandoned numbers, however late it came, nor what no log has yet."""
    logs = [Visible(7_000_001, 3, (2,)), Visible(7_000_002, 1)]
    rows = [(7_000_001, number, 4) for number in (1, 2, 3, 4)]
    rows += [(7_000_002, 1, 2), (7_000_002, 2, 2), (7_000_003, 1, 1)]
    for source, piece, count in rows:
        client.run(
            sql(
                "INSERT INTO archive (workspace, source, piece, position, ts, received_at, message_id)"
                " SELECT 1, %s, %s, number, now64(3), now64(3), '' FROM numbers(%s)",
                source,
                piece,
                count,
            )
        )
    assert backup._copy_out(ARCHIVE, logs, tmp_path, print) == 4 + 4 + 2
    client.run(sql("DELETE FROM archive WHERE source IN %s", [source for source, *_ in rows]))
    (path,) = (tmp_path / backup.ROWS_FOLDER).iterdir()
    with open(path, "rb") as file, zstandard.ZstdDecompressor().stream_reader(file) as native:
        client.insert_native("archive", backup._stored(ARCHIVE), native.read())
    query = sql("SELECT source, piece, count() FROM archive WHERE source > 7000000 GROUP BY 1, 2 ORDER BY 1, 2")
    assert client.rows(query) == [(7_000_001, 1, 4), (7_000_001, 3, 4), (7_000_002, 1, 2)]
    client.run(sql("DELETE FROM archive WHERE source > 7000000"))
