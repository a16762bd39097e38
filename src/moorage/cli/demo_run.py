"""One run of the demo: prepare a place, play the script, tear down, look for traces, tell the result."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import msgspec

from moorage.base.backoff import Backoff
from moorage.cli import demo_place as place
from moorage.cli.demo_driver import ServedDriver, serve_local
from moorage.cli.demo_files import ContentWrong
from moorage.cli.demo_player import Player
from moorage.cli.demo_screen import Screen
from moorage.cli.demo_script import down, up
from moorage.drivers.local.facts import examine, is_privileged
from moorage.orchestrator.calling import Patience
from moorage.orchestrator.drivers import Drivers
from moorage.orchestrator.model import OrchestratorError
from moorage.orchestrator.workspace import open_workspace

PATIENCE = Patience(limit_s=120.0, backoff=Backoff(initial_s=0.05, maximum_s=2.0))


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user asked for; `as_user` says that the demo runs without root, in a namespace of its own."""

    size_bytes: int
    driver: str = ""
    pool: str = ""
    keep: bool = False
    as_user: bool = False


@dataclass(frozen=True, slots=True)
class Circumstances:
    """The file system of the volumes, whether it grows mounted, and whether growth must show; None: not known."""

    fs_type: str = ""
    grows_online: bool | None = None
    growth_shows: bool = False


class Demo:
    """Runs once."""

    def __init__(self, wish: Wish, *, as_json: bool) -> None:
        self.wish = wish
        self.as_json = as_json
        self.screen = Screen(quiet=as_json)
        self.directory = place.make_directory()
        self.served: ServedDriver | None = None
        self.error = ""
        self.left: list[str] = []
        self.ended_by: signal.Signals | None = None

    async def run(self) -> int:
        """The whole demo; returns the exit code. When cancelled, everything is taken away before the error goes on."""
        self._heed_signals()
        begun_s = time.monotonic()
        before = place.traces(self.directory, self.wish.pool)
        new_in_pool = place.missing_of_pool(self.wish.pool)
        kept = False
        try:
            await self._play()
            kept = self.wish.keep
        except (OrchestratorError, ContentWrong, OSError) as error:
            self._failed(error)
        except asyncio.CancelledError:
            self.error = "interrupted"
            raise
        finally:
            if not kept:
                await self._leave()
                place.clear_pool(new_in_pool)
                self.left += place.traces(self.directory, self.wish.pool).beyond(before)
                if self.error == "interrupted":
                    self._say_left()
            elif self.served is not None:
                await self.served.stop()
        self._summarise(time.monotonic() - begun_s)
        return 1 if self.error or self.left else 0

    def _heed_signals(self) -> None:
        """Have SIGTERM and SIGHUP end the demo as Ctrl-C does, unless they are ignored, as by nohup."""
        task = asyncio.current_task()
        assert task is not None

        def end(number: signal.Signals) -> None:
            if not task.cancelling():  # a second one must not disturb the cleaning
                self.ended_by = number
                task.cancel()

        for number in (signal.SIGTERM, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:
                asyncio.get_running_loop().add_signal_handler(number, end, number)

    async def _play(self) -> None:
        endpoint = self.wish.driver
        circumstances = Circumstances()
        if not endpoint:
            endpoint = os.path.join(self.directory, "csi.sock")
            circumstances = await self._serve(endpoint)
        player = await self._player(endpoint, circumstances)
        acts = up(player.declared, size_bytes=self.wish.size_bytes, grows_online=circumstances.grows_online)
        try:
            await player.play(acts)
            if not self.wish.keep:
                await player.play(down())
        except BaseException as error:
            if isinstance(error, OrchestratorError | ContentWrong | OSError):
                self._failed(error)
            await self._take_back(player)
            raise

    async def _serve(self, socket: str) -> Circumstances:
        """Start the local driver and say what to expect of it here."""
        pool = self.wish.pool or os.path.join(self.directory, "pool")
        os.makedirs(pool, mode=0o700, exist_ok=True)
        facts = examine(Path(pool), privileged=is_privileged())
        backend = facts.backends[0]
        self.screen.say(f"pool {pool} on {facts.fs_type or 'an unknown file system'}, volumes as {backend}")
        if self.wish.as_user:
            self.screen.say("without root: in a user namespace of its own, with bind mounts only")
        if backend == "directory":
            self.screen.say("not enforced on directories: sizes; not possible: raw block, group snapshots")
        elif not facts.reflink:
            self.screen.say("no reflink here, so copies copy the data; a pool on xfs or btrfs copies in an instant")
        circumstances = self._circumstances(backend)
        self.served = await serve_local(
            pool,
            socket=socket,
            state_dir=os.path.join(self.directory, "driver"),
            log_path=os.path.join(self.directory, "driver.log"),
        )
        self.screen.say(f"driver `moorage serve local` is process {self.served.process.pid} behind {socket}")
        return circumstances

    def _circumstances(self, backend: str) -> Circumstances:
        if backend != "image":
            return Circumstances(grows_online=True, growth_shows=True)
        fs_type = place.growing_fs_type()
        if not fs_type:
            self.screen.say("ext4 grows mounted only with CAP_SYS_RESOURCE, so the volume is unmounted for that")
        elif fs_type != "ext4":
            self.screen.say(f"volumes are {fs_type}: ext4 grows mounted only with CAP_SYS_RESOURCE, missing here")
        return Circumstances(fs_type=fs_type or "ext4", grows_online=bool(fs_type), growth_shows=True)

    async def _player(self, endpoint: str, circumstances: Circumstances) -> Player:
        state_dir = os.path.join(self.directory, "state")
        workspace = open_workspace(state_dir, patience=PATIENCE, progress=self.screen)
        registered = await Drivers(workspace).add(endpoint, name="demo")
        _, declared = await Drivers(workspace).describe(registered.name)
        self.screen.say(f"{registered.plugin_name} {registered.vendor_version} at {registered.endpoint}\n")
        return Player(
            workspace=workspace,
            driver=registered.name,
            declared=declared,
            screen=self.screen,
            mount_dir=os.path.join(self.directory, "mnt"),
            fs_type=circumstances.fs_type,
            figures_must_grow=circumstances.growth_shows,
        )

    async def _take_back(self, player: Player) -> None:
        """After a failure: undo what was done, act by act, whatever else fails."""
        self.screen.say("\ntaking everything back")
        for act in down():
            with contextlib.suppress(OrchestratorError, OSError):
                await player.play([act])

    async def _leave(self) -> None:
        """Stop the driver and remove the directory; by force only what the demo's own driver made."""
        if self.served is not None:
            if self.error and self.error != "interrupted":
                self._show_log(self.served)
            await self.served.stop()
        with contextlib.suppress(OSError):
            self.left += place.clear(self.directory, force=not self.wish.driver)

    def _failed(self, error: Exception) -> None:
        if self.error:
            return
        self.error = " ".join(str(error).split())
        if self.screen.acts:
            self.screen.ended("failed", self.error)

    def _show_log(self, served: ServedDriver) -> None:
        self.screen.say("\nlast lines of the driver's log:")
        for line in served.last_log_lines():
            self.screen.say(f"    {line}")

    def _summarise(self, elapsed_s: float) -> None:
        if self.as_json:
            click.echo(msgspec.json.format(msgspec.json.encode(self._document(elapsed_s))).decode())
            return
        done = sum(told.outcome == "done" for told in self.screen.acts)
        skipped = sum(told.outcome == "left" for told in self.screen.acts)
        extra = f", {skipped} left out" if skipped else ""
        self.screen.say(f"\n{done} steps done{extra}, {self.screen.calls()} calls, {elapsed_s:.1f} s")
        if self.wish.keep and not self.error:
            self._say_kept()
        else:
            self._say_left()
        if self.error:
            self.screen.complain(self.error)

    def _say_left(self) -> None:
        if self.left:
            self.screen.complain(f"left behind: {'; '.join(self.left)}")
        else:
            self.screen.say("nothing is left: no mount, no loop device, no file")

    def _say_kept(self) -> None:
        self.screen.say(f"kept in {self.directory}, with its mounts; look at it with")
        self.screen.say(f"  moorage volume list --state-dir {self.directory}/state")
        if self.served is not None:
            self.screen.say("the driver is stopped; to unmount and delete volumes, start it again with")
            self.screen.say(f"  {shlex.join(('moorage', *self.served.arguments))}")

    def _document(self, elapsed_s: float) -> dict[str, Any]:
        return {
            "ok": not self.error and not self.left,
            "error": self.error,
            "left_behind": self.left,
            "kept": self.directory if self.wish.keep and not self.error else "",
            "driver": list(self.served.arguments) if self.served is not None else [],
            "seconds": round(elapsed_s, 3),
            "calls": self.screen.calls(),
            "acts": self.screen.document(),
        }
