from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from moorage.verify.content import Pattern, digest_of, read_pattern, write_pattern


def test_a_pattern_is_found_where_it_was_written(tmp_path: Path) -> None:
    path = str(tmp_path / "file")
    write_pattern(path, Pattern(seed=1, size_bytes=100_000, offset=4096))
    assert read_pattern(path, Pattern(seed=1, size_bytes=100_000, offset=4096))


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Pattern(seed=2, size_bytes=4096), id="another-seed"),
        pytest.param(Pattern(seed=1, size_bytes=8192), id="longer"),
        pytest.param(Pattern(seed=1, size_bytes=4096, offset=1), id="elsewhere"),
    ],
)
def test_another_pattern_is_not_found(tmp_path: Path, other: Pattern) -> None:
    path = str(tmp_path / "file")
    write_pattern(path, Pattern(seed=1, size_bytes=4096))
    assert not read_pattern(path, other)


def test_a_missing_file_holds_no_pattern(tmp_path: Path) -> None:
    assert not read_pattern(str(tmp_path / "none"), Pattern(seed=1))


def test_the_digest_is_of_the_range(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"aabb")
    assert digest_of(str(path), size_bytes=2, offset=2) == hashlib.sha256(b"bb").hexdigest()
