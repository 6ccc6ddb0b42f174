"""Processes with other keys than the installation's do not start, and say what to do."""

import pytest
from cryptography.fernet import Fernet
from django.db import connection

from personas_site import keys
from tests.factories import SpaceFactory
from tests.factories_destinations import make_destination

pytestmark = pytest.mark.django_db
OLD, NEW = Fernet.generate_key().decode(), Fernet.generate_key().decode()


@pytest.fixture(autouse=True)
def prepared(settings):
    settings.SECRET_KEY, settings.FIELD_KEYS = "one secret", [OLD]
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM spaces_installation")
        keys.write_down(cursor)


def check():
    with connection.cursor() as cursor:
        keys.check(cursor)


def prepare():
    with connection.cursor() as cursor:
        keys.write_down(cursor)


def test_the_same_keys_are_right_and_no_fingerprint_is_a_key():
    check()
    with connection.cursor() as cursor:
        cursor.execute(keys.READ)
        kept = str(cursor.fetchall())
    assert "one secret" not in kept
    assert OLD[:8] not in kept


def test_another_secret_key_is_told(settings):
    settings.SECRET_KEY = "another"
    with pytest.raises(keys.OtherKeys, match="PERSONAS_SECRET_KEY is not the one"):
        check()
    prepare()
    check()


def test_field_keys_can_be_rotated_but_not_lost(settings):
    make_destination(SpaceFactory())
    settings.FIELD_KEYS = [NEW, OLD]
    with pytest.raises(keys.OtherKeys, match="PERSONAS_FIELD_KEYS are not those"):
        check()
    prepare()
    check()
    settings.FIELD_KEYS = [NEW]
    prepare()
    settings.FIELD_KEYS = [OLD]
    with pytest.raises(keys.OtherKeys, match="opens the settings of destinations"):
        prepare()


def test_before_the_first_prepare_nothing_is_known():
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM spaces_installation")
    check()
