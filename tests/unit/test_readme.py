"""The driver that the README shows is a driver."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

import moorage.framework as csi
from moorage.framework.plugin import Plugin
from moorage.spec import messages as m
from moorage.spec.types import AccessMode, CapacityRange, VolumeCapability

README = Path(__file__).parents[2] / "README.md"


async def test_the_driver_of_the_readme_makes_and_deletes_volumes(tmp_path: Path) -> None:
    found = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)
    assert found is not None
    names: dict[str, Any] = {"__name__": "readme"}
    exec(found[1], names)
    names["POOL"] = tmp_path
    plugin = Plugin(names["Toy"](csi.Config()), state_dir=tmp_path / "state")
    await plugin.start()
    call: Any = plugin.handlers
    wish = m.CreateVolumeRequest(
        "one", (VolumeCapability(AccessMode.SINGLE_NODE_WRITER),), CapacityRange(required_bytes=16 << 20)
    )
    volume = (await call["CreateVolume"](wish)).volume
    assert (tmp_path / volume.volume_id).stat().st_size == 16 << 20
    await call["DeleteVolume"](m.DeleteVolumeRequest(volume.volume_id))
    assert not (tmp_path / volume.volume_id).exists()
    await plugin.stop(1.0)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\(([^)h][^)]*)\)", README.read_text()))))
def test_every_file_that_the_readme_names_exists(target: str) -> None:
    assert (README.parent / target).exists()
