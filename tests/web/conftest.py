"""What the tests of pages and routes share."""

from typing import Any

import pytest

from tests.cast import Cast, make_cast


@pytest.fixture(autouse=True)
def unmarked_views_raise(settings: Any) -> None:
    """A view that states no permission breaks the test instead of being refused quietly."""
    settings.GATE_RAISES = True


@pytest.fixture
def cast(db: Any) -> Cast:
    return make_cast()
