"""Drivers that are wrong on the node."""

from __future__ import annotations

import os

from moorage.spec import messages as m
from moorage.testing.mutants.mutant import Call, Reply, mutant


@mutant("node.target-is-a-mount", on=("NodePublishVolume", "NodeUnpublishVolume"))
async def publishes_an_empty_directory(call: Call) -> Reply:
    """A target directory is made and nothing is mounted there."""
    made = call.memory.setdefault("made", set())
    if isinstance(call.request, m.NodePublishVolumeRequest):
        os.makedirs(call.request.target_path, exist_ok=True)
        made.add(call.request.target_path)
        return Reply.of(m.NodePublishVolumeResponse())
    if call.request.target_path in made and os.path.isdir(call.request.target_path):
        for name in os.listdir(call.request.target_path):
            os.unlink(os.path.join(call.request.target_path, name))
        os.rmdir(call.request.target_path)
    return Reply.of(m.NodeUnpublishVolumeResponse())
