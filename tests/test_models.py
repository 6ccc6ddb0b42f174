"""Tenancy from the first migration: whose a row is, is said by the row itself."""

import pytest
from django.apps import apps
from django.db import connection, models

from sources.events.schema import TABLES
from spaces.models import Workspace
from tests.house import APPS

GLOBAL = {"Workspace", "User", "SignedIn", "Installation"}  # a workspace is one itself; a person may belong to several
OURS = [model for app in APPS for model in apps.get_app_config(app).get_models() if model.__name__ not in GLOBAL]


@pytest.mark.parametrize("model", OURS, ids=lambda model: model.__name__)
def test_every_row_names_its_workspace(model: type[models.Model]) -> None:
    field = model._meta.get_field("workspace")
    assert field.related_model is Workspace
    assert not field.null


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_every_event_table_begins_with_the_workspace(table) -> None:
    assert table.order.startswith("workspace, ")


@pytest.mark.django_db
def test_the_application_uses_tables_that_it_does_not_own() -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public' AND tableowner = current_user")
        assert cursor.fetchall() == []
        cursor.execute("SELECT count(*) FROM pg_tables WHERE schemaname = 'public'")
        assert cursor.fetchone()[0] > len(OURS)
