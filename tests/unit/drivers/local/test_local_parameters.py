"""Parameters of volumes: what is understood, what is refused, and where a volume is then put."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moorage.drivers.local.facts import PoolFacts
from moorage.drivers.local.parameters import KNOWN, Wanted, parse, parse_mutable
from moorage.drivers.local.placement import check_size, place_volume
from moorage.framework.source import RootOwnership
from moorage.spec.errors import InvalidArgument, OutOfRange

XFS = PoolFacts(fs_type="xfs", reflink=True, privileged=True)
EXT4 = PoolFacts(fs_type="ext4", reflink=False, privileged=True)
BTRFS = PoolFacts(fs_type="btrfs", reflink=True, privileged=True)
USER = PoolFacts(fs_type="btrfs", reflink=True, privileged=False)


def test_everything_that_can_be_said() -> None:
    assert parse(
        {
            "pool": "fast",
            "backend": "image",
            "allocation": "reserved",
            "readAheadKiB": "256",
            "compression": "zstd",
            "uid": "1000",
            "gid": "0",
            "mode": "02770",
        }
    ) == Wanted(
        pool="fast",
        backend="image",
        allocation="reserved",
        read_ahead_kib=256,
        compression="zstd",
        root=RootOwnership(1000, 0, 0o2770),
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("backend", "zfs"),
        ("allocation", "thick"),
        ("readAheadKiB", "-1"),
        ("readAheadKiB", "1e3"),
        ("readAheadKiB", "١"),
        ("readAheadKiB", ""),
        ("readAheadKiB", "99999999999999999999"),
        ("compression", "zlib"),
        ("uid", "root"),
        ("uid", "4294967295"),
        ("mode", "888"),
        ("mode", "17777"),
        ("mode", ""),
        ("fsType", "ext4"),
        ("Pool", "x"),
    ],
)
def test_what_is_not_understood_is_refused_by_name(name: str, value: str) -> None:
    with pytest.raises(InvalidArgument, match=name):
        parse({name: value})


@pytest.mark.parametrize("name", ["pool", "backend", "uid", "gid", "mode"])
def test_only_some_parameters_can_be_changed_later(name: str) -> None:
    with pytest.raises(InvalidArgument, match=name):
        parse_mutable({name: "0"})


@given(st.dictionaries(st.sampled_from(sorted(KNOWN)) | st.text(), st.text()))
def test_any_text_is_read_or_refused(parameters: dict[str, str]) -> None:
    try:
        parse(parameters)
    except InvalidArgument:
        return
    assert set(parameters) <= KNOWN


@pytest.mark.parametrize(
    ("wanted", "facts", "block", "configured", "source", "expected"),
    [
        pytest.param(Wanted(), XFS, False, "auto", None, "image", id="xfs"),
        pytest.param(Wanted(), EXT4, False, "auto", None, "image", id="ext4"),
        pytest.param(Wanted(), BTRFS, False, "auto", None, "subvolume", id="btrfs"),
        pytest.param(Wanted(), USER, False, "auto", None, "directory", id="without-root"),
        pytest.param(Wanted(), BTRFS, True, "auto", None, "image", id="block-on-btrfs"),
        pytest.param(Wanted(), BTRFS, True, "subvolume", None, "image", id="block-whatever-is-configured"),
        pytest.param(Wanted(), BTRFS, False, "image", None, "image", id="configured"),
        pytest.param(Wanted(backend="directory"), BTRFS, False, "image", None, "directory", id="asked-for"),
        pytest.param(Wanted(), BTRFS, False, "auto", "image", "image", id="like-its-source"),
        pytest.param(Wanted(), XFS, True, "auto", "image", "image", id="block-from-an-image"),
    ],
)
def test_backend_follows_the_wish_then_the_source_then_the_pool(
    wanted: Wanted, facts: PoolFacts, block: bool, configured: str, source: str | None, expected: str
) -> None:
    found = place_volume(wanted, facts, block=block, configured=configured, source=source)  # type: ignore[arg-type]  # table
    assert found.backend == expected


@pytest.mark.parametrize(
    ("wanted", "facts", "block", "source", "text"),
    [
        pytest.param(Wanted(), USER, True, None, "need root", id="block-without-root"),
        pytest.param(Wanted(backend="subvolume"), XFS, False, None, "not possible", id="subvolume-on-xfs"),
        pytest.param(Wanted(backend="subvolume"), BTRFS, True, None, "raw block", id="block-subvolume"),
        pytest.param(Wanted(backend="directory"), XFS, False, "image", "kept as image", id="other-than-its-source"),
        pytest.param(Wanted(), BTRFS, True, "subvolume", "raw block", id="block-from-a-subvolume"),
        pytest.param(Wanted(), XFS, False, "subvolume", "not possible here", id="subvolume-into-xfs"),
        pytest.param(Wanted(compression="zstd"), XFS, False, None, "compression", id="compressed-image"),
        pytest.param(Wanted(allocation="reserved"), BTRFS, False, None, "allocation", id="reserved-subvolume"),
        pytest.param(Wanted(read_ahead_kib=1), USER, False, None, "readAheadKiB", id="read-ahead-of-a-directory"),
    ],
)
def test_contradictions_are_refused(
    wanted: Wanted, facts: PoolFacts, block: bool, source: str | None, text: str
) -> None:
    with pytest.raises(InvalidArgument, match=text):
        place_volume(wanted, facts, block=block, source=source)  # type: ignore[arg-type]  # table


@pytest.mark.parametrize(
    ("size_bytes", "backend", "facts", "limit", "refused"),
    [
        pytest.param(1 << 40, "image", EXT4, 0, False, id="fits"),
        pytest.param(16 << 40, "image", EXT4, 0, True, id="larger-than-a-file-on-ext4"),
        pytest.param(16 << 40, "image", XFS, 0, False, id="fits-on-xfs"),
        pytest.param(16 << 40, "directory", EXT4, 0, False, id="a-directory-is-no-file"),
        pytest.param(101, "directory", EXT4, 100, True, id="over-the-limit"),
        pytest.param(100, "directory", EXT4, 100, False, id="at-the-limit"),
    ],
)
def test_sizes_have_limits(size_bytes: int, backend: str, facts: PoolFacts, limit: int, refused: bool) -> None:
    try:
        check_size(size_bytes, backend, facts, limit_bytes=limit)  # type: ignore[arg-type]  # table
    except OutOfRange:
        assert refused
    else:
        assert not refused
