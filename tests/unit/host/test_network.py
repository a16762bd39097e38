"""Mounts of network file systems are told by the mount table alone."""

from __future__ import annotations

import pytest

from moorage.host.mountinfo import parse_mountinfo_line
from moorage.host.network import server_of, shows_source


@pytest.mark.parametrize(
    ("source", "server"),
    [
        ("nas.example.org:/export/a", "nas.example.org"),
        ("NAS:/export", "nas"),
        ("10.0.0.7:/", "10.0.0.7"),
        ("[fe80::1]:/export", "[fe80::1]"),
        ("mon1:6789,mon2:6789:/volumes/a", "mon1:6789,mon2:6789"),
        ("//Files/share/dir", "files"),
        ("tmpfs-of-a-test", "tmpfs-of-a-test"),
    ],
)
def test_the_server_of_a_source(source: str, server: str) -> None:
    assert server_of(source) == server


@pytest.mark.parametrize(
    ("shown", "source", "fs_type", "same"),
    [
        pytest.param("nfs4 nas:/a", "nas:/a", "nfs", True, id="nfs-by-its-version"),
        pytest.param("nfs nas:/a", "nas:/a", "nfs4", True, id="version-three"),
        pytest.param("nfs4 nas:/a", "nas:/a/", "nfs4", True, id="last-slash"),
        pytest.param("nfs4 nas:/", "nas:/", "nfs4", True, id="root-of-the-server"),
        pytest.param("nfs4 nas:/a", "nas:/ab", "nfs4", False, id="another-export"),
        pytest.param("nfs4 nas:/a", "nas2:/a", "nfs4", False, id="another-server"),
        pytest.param("cifs //files/a", "//files/a", "smb3", True, id="smb-by-its-version"),
        pytest.param("fuse.glusterfs nas:/vol", "nas:/vol", "glusterfs", True, id="fuse-type"),
        pytest.param("ext4 nas:/a", "nas:/a", "nfs4", False, id="another-type"),
    ],
)
def test_a_mount_shows_its_source(shown: str, source: str, fs_type: str, *, same: bool) -> None:
    entry = parse_mountinfo_line(f"36 35 0:40 / /mnt rw,noatime - {shown} rw".encode())
    assert shows_source(entry, source, fs_type=fs_type) is same
