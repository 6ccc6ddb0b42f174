"""Folders as paths: tidied, refused, and what is above and below one."""

import pytest

from audiences.rules.folders import FolderRefused, above, directly_below, tidied_folder


@pytest.mark.parametrize(
    ("written", "tidy"),
    [("", ""), (" / ", ""), ("A", "A"), (" A  b /C/", "A b/C"), ("//A//B//", "A/B"), ("a/b/c/d/e/f", "a/b/c/d/e/f")],
)
def test_a_path_is_tidied(written, tidy):
    assert tidied_folder(written) == tidy


@pytest.mark.parametrize("path", ["a/b/c/d/e/f/g", "x" * 61, f"a/{'x' * 61}"])
def test_what_is_no_folder_is_refused(path):
    with pytest.raises(FolderRefused):
        tidied_folder(path)


def test_what_is_above_and_below():
    assert above("A/B/C") == ["A", "A/B", "A/B/C"]
    folders = ["A/B/C", "A/B", "A b", "z", "A/D/E"]
    assert directly_below("", folders) == ["A", "A b", "z"]
    assert directly_below("A", folders) == ["A/B", "A/D"]
    assert directly_below("A/D/E", folders) == []
    assert above("") == []
