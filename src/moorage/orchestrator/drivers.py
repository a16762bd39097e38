"""Registered drivers: a short name of the user's choice for each socket.

A driver given by its socket is registered on first use under the name that it gives itself.
"""

from __future__ import annotations

import os
from dataclasses import dataclass

from moorage.orchestrator.model import DriverRecord, OrchestratorError, VolumeRecord, check_name
from moorage.orchestrator.workspace import DriverClient, Workspace
from moorage.rpc.endpoint import EndpointError, parse_client_endpoint
from moorage.spec.capabilities import Declared
from moorage.spec.errors import CsiError
from moorage.spec.messages import GetPluginInfoRequest, GetPluginInfoResponse


class BadEndpoint(OrchestratorError):
    """What was given as a driver's socket is no address of one."""


@dataclass(frozen=True, slots=True)
class Drivers:
    """The drivers that this orchestrator knows."""

    workspace: Workspace

    async def all(self) -> list[DriverRecord]:
        """Every registered driver, by name."""
        return await self.workspace.book.read(lambda shelves: list(shelves.drivers.all()))

    async def add(self, endpoint: str, *, name: str = "", replace: bool = False) -> DriverRecord:
        """Register the driver at `endpoint` under `name`, or under its own name.

        Raises OrchestratorError when it does not answer, or when the name stands for another socket and
        `replace` is false; a driver of another plugin name never replaces one that has volumes.
        """
        address = checked_endpoint(endpoint)
        async with self.workspace.connected(address) as (client, _):
            info = await plugin_info(client, address)
        record = DriverRecord(
            name=check_name("driver", name or info.name),
            endpoint=address,
            plugin_name=info.name,
            vendor_version=info.vendor_version,
        )
        async with self.workspace.book.lock("driver", record.name, waiting=self.workspace.progress.note):
            known = await self.workspace.book.read(lambda shelves: shelves.drivers.get(record.name))
            if known is not None:
                await self._check_replacement(known, record, replace=replace)
            await self.workspace.book.write(lambda shelves: shelves.drivers.put_change(record))
        return record

    async def remove(self, name: str) -> None:
        """Forget a driver. Raises OrchestratorError when it is unknown or volumes or snapshots name it."""
        async with self.workspace.book.lock("driver", name, waiting=self.workspace.progress.note):
            known = await self.workspace.book.read(lambda shelves: shelves.drivers.get(name))
            if known is None:
                raise OrchestratorError(f"no driver {name!r} is registered; see `moorage volume drivers list`")
            if users := await self._users(name):
                raise OrchestratorError(f"driver {name!r} is needed by {users[0]}; delete or forget that first")
            await self.workspace.book.write(lambda shelves: shelves.drivers.delete_change(name))

    async def resolve(self, driver: str) -> str:
        """The registered name for what the user gave: a name, a socket, or nothing when only one is registered.

        Raises OrchestratorError when that is not possible.
        """
        known = await self.all()
        if not driver:
            if len(known) == 1:
                return known[0].name
            what = "none is registered" if not known else f"{len(known)} are registered"
            raise OrchestratorError(f"give --driver, a socket or a registered name; {what}")
        if any(record.name == driver for record in known):
            return driver
        if "/" not in driver and not driver.startswith(("unix:", "tcp:")):
            raise OrchestratorError(
                f"no driver {driver!r} is registered; give its socket, or run `moorage volume drivers add SOCKET`"
            )
        address = checked_endpoint(driver)
        for record in known:
            if record.endpoint == address:
                return record.name
        return (await self.add(address)).name

    async def describe(self, name: str) -> tuple[DriverRecord, Declared]:
        """The record of a driver and what it declares now."""
        async with self.workspace.session(name) as session:
            return session.driver, session.declared

    async def _check_replacement(self, known: DriverRecord, new: DriverRecord, *, replace: bool) -> None:
        if known.endpoint == new.endpoint and known.plugin_name == new.plugin_name:
            return
        if not replace:
            raise OrchestratorError(
                f"driver {known.name!r} is registered at {known.endpoint}; run `moorage volume drivers add "
                f"{new.endpoint} --name OTHER`, or add --replace when it has moved"
            )
        if known.plugin_name != new.plugin_name and (users := await self._users(known.name)):
            raise OrchestratorError(
                f"the driver at {new.endpoint} is {new.plugin_name!r}, and {users[0]} belongs to "
                f"{known.plugin_name!r}; register it under another name"
            )

    async def _users(self, name: str) -> list[str]:
        def question(volumes: list[VolumeRecord], others: list[str]) -> list[str]:
            return [f"volume {volume.name!r}" for volume in volumes if volume.driver == name] + others

        return await self.workspace.book.read(
            lambda shelves: question(
                list(shelves.volumes.all()),
                [f"snapshot {snap.name!r}" for snap in shelves.snapshots.all() if snap.driver == name],
            )
        )


def checked_endpoint(text: str) -> str:
    """The address in its canonical form; a relative path becomes absolute. Raises BadEndpoint."""
    if ":" not in text.split("/", 1)[0] and not text.startswith("/"):
        text = os.path.abspath(text)
    try:
        return str(parse_client_endpoint(text))
    except EndpointError as error:
        raise BadEndpoint(str(error)) from error


async def plugin_info(client: DriverClient, address: str) -> GetPluginInfoResponse:
    """Who the driver says it is. Raises OrchestratorError when it does not say."""
    try:
        info = await client.unary("GetPluginInfo", GetPluginInfoRequest(), GetPluginInfoResponse, timeout_s=None)
    except CsiError as error:
        raise OrchestratorError(
            f"the driver at {address} does not tell its name (GetPluginInfo: {error.code.name}: {error.message})"
        ) from error
    if not info.name:
        raise OrchestratorError(f"the driver at {address} has no name; register it with --name")
    return info
