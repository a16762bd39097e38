"""Drivers that take names, ids and paths for more than they are.

What they destroy has "precious" in its name: that is what the suite puts there to be destroyed.
"""

from __future__ import annotations

import asyncio
import os
import shutil

from moorage.spec import messages as m
from moorage.spec.errors import Code
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("robustness.hostile-names", on=("CreateVolume",))
async def gives_the_name_to_a_shell(call: Call) -> Reply:
    """The volume's name is part of a shell command."""
    child = await asyncio.create_subprocess_shell(f": {call.request.name}", stderr=asyncio.subprocess.DEVNULL)
    await child.wait()
    return await call.forward()


@mutant("robustness.hostile-ids", on=("DeleteVolume",))
async def takes_the_id_for_a_path(call: Call) -> Reply:
    """DeleteVolume removes the directory that the id names below the driver's own."""
    _remove_precious(os.path.join("/nonexistent/pool", call.request.volume_id))
    return await call.forward()


@mutant("robustness.hostile-ids-codes", on=("ControllerGetVolume", "ValidateVolumeCapabilities"))
async def breaks_on_ids_with_slashes(call: Call) -> Reply:
    """An id with a slash in it is an internal error."""
    if "/" in call.request.volume_id:
        return Reply.failed(Code.INTERNAL, "cannot stat the volume's directory: No such file or directory")
    return await call.forward()


@mutant("robustness.hostile-paths", on=("NodeUnpublishVolume",))
async def removes_all_that_is_at_the_target(call: Call) -> Reply:
    """NodeUnpublishVolume removes the target path with everything in it."""
    assert isinstance(call.request, m.NodeUnpublishVolumeRequest)
    if not os.path.ismount(call.request.target_path):
        _remove_precious(call.request.target_path)
    return await call.forward()


def _remove_precious(path: str) -> None:
    real = os.path.realpath(path)
    if os.path.basename(real) == "precious":
        shutil.rmtree(real, ignore_errors=True)
