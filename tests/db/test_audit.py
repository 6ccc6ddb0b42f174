"""The database itself lets the application add to the audit trail, and change nothing in it."""

from datetime import timedelta

import pytest
from django.db import ProgrammingError, transaction
from django.utils import timezone

from access.models import AuditEntry
from access.services import COMMAND, audit, forget
from tests.factories import WorkspaceFactory

pytestmark = pytest.mark.django_db


@pytest.fixture
def entries(monkeypatch):
    """One of today, and one of 50 days ago."""
    workspace, now = WorkspaceFactory(), timezone.now()
    audit(COMMAND, "new", workspace)
    with monkeypatch.context() as patch:
        patch.setattr(timezone, "now", lambda: now - timedelta(days=50))
        audit(COMMAND, "old", workspace)
    return AuditEntry.objects.filter(workspace=workspace)


@pytest.mark.parametrize("change", [lambda rows: rows.update(action="x"), lambda rows: rows.delete()])
def test_an_entry_is_neither_changed_nor_removed(entries, change):
    with pytest.raises(ProgrammingError, match="permission denied"), transaction.atomic():
        change(entries)
    assert entries.count() == 2


def test_old_ones_are_forgotten(entries):
    forget(timezone.now() - timedelta(days=49))
    assert [entry.action for entry in entries] == ["new"]


def test_the_newest_stay_whatever_is_asked(entries):
    forget(timezone.now() + timedelta(days=1))
    assert [entry.action for entry in entries] == ["new"]
