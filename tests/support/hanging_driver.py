"""A driver whose storage system has stopped answering: CreateVolume blocks for ever, in plain Python."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Annotated

import moorage.framework as csi


class HangingConfig(csi.Config):
    """Where the directories of the volumes are."""

    root: Annotated[Path, csi.Option("directory of the volumes")]


class HangingDriver(csi.Driver):
    """Directories as volumes; a volume whose name begins with `hang` is never done."""

    name = "hanging.example.org"
    Config = HangingConfig
    config: HangingConfig

    def create_volume(self, volume: csi.NewVolume) -> None:
        """Made, or never."""
        if volume.name.startswith("hang"):
            with (self.config.root / "begun").open("a") as begun:
                begun.write(f"{volume.name}\n")
            while True:
                time.sleep(3600)
        (self.config.root / volume.volume_id).mkdir(exist_ok=True)

    def delete_volume(self, volume: csi.VolumeRecord) -> None:
        """Gone."""
        place = self.config.root / volume.volume_id
        if place.exists():
            place.rmdir()

    def node_info(self) -> csi.NodeInfo:
        """This node."""
        return csi.NodeInfo(node_id="node-1")

    def node_source(self, volume: csi.NodeVolume) -> csi.Source:
        """The directory."""
        return csi.Directory(self.config.root / os.path.basename(volume.volume_id))
