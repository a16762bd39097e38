"""Container images without a registry: archives of one layer, for `ctr images import`."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

BUSYBOX = "docker.io/library/busybox:test"
PAUSE = "registry.k8s.io/pause:test"
_APPLETS = (
    "sh",
    "sleep",
    "cat",
    "echo",
    "ls",
    "dd",
    "sync",
    "sha256sum",
    "df",
    "mount",
    "stat",
    "test",
    "touch",
    "rm",
    "id",
    "mkdir",
    "true",
    "tail",
    "seq",
    "mv",
    "blockdev",
    "cp",
)


def write_archive(path: Path, name: str, files: Mapping[str, bytes], *, entrypoint: Sequence[str] = ()) -> None:
    """Write an image of these executable files in the form of `docker save`."""
    layer = _tar({"tmp/": b"", **files}, mode=0o755)
    config = json.dumps(
        {
            "architecture": "amd64",
            "os": "linux",
            "config": {"Entrypoint": list(entrypoint), "Env": ["PATH=/bin"]},
            "rootfs": {"type": "layers", "diff_ids": [f"sha256:{hashlib.sha256(layer).hexdigest()}"]},
        }
    ).encode()
    config_name = f"{hashlib.sha256(config).hexdigest()}.json"
    manifest = json.dumps([{"Config": config_name, "RepoTags": [name], "Layers": ["layer.tar"]}]).encode()
    path.write_bytes(_tar({config_name: config, "layer.tar": layer, "manifest.json": manifest}, mode=0o644))


def busybox_files() -> dict[str, bytes]:
    """Debian's static busybox under the names of its applets, as small scripts cannot be run without a shell."""
    binary = Path("/bin/busybox").read_bytes()
    return {"bin/busybox": binary, **{f"bin/{name}": b"->busybox" for name in _APPLETS}}


def _tar(files: Mapping[str, bytes], *, mode: int) -> bytes:
    stream = io.BytesIO()
    with tarfile.open(fileobj=stream, mode="w", format=tarfile.GNU_FORMAT) as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name.rstrip("/"))
            info.mode = mode
            if name.endswith("/"):
                info.type, info.mode = tarfile.DIRTYPE, 0o1777
            elif data.startswith(b"->"):
                info.type, info.linkname = tarfile.SYMTYPE, data[2:].decode()
            else:
                info.size = len(data)
            archive.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return stream.getvalue()
