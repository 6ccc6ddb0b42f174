"""Faults are planted where the code is that they are about: `make oracle` takes too long to be the first to know."""

import pytest

from tests.planted_faults import FAULTS, ROOT, Fault


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_there_is_something_to_get_wrong(fault: Fault) -> None:
    assert fault.right in (ROOT / fault.file).read_text()
