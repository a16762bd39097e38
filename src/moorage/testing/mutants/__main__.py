"""Serve one mutant, or with the name `none` the correct driver through the same relay, until SIGTERM."""

from __future__ import annotations

import argparse
import asyncio
import signal

from moorage.rpc.endpoint import parse_server_endpoint
from moorage.rpc.raw import RawClient
from moorage.rpc.relay import Relay
from moorage.testing.mutants import MUTANTS
from moorage.testing.mutants.mutant import Meddler

NONE = "none"


async def serve(name: str, *, listen: str, backend: str) -> None:
    """Serve the mutant of this name at `listen`, in front of the driver at `backend`."""
    client = RawClient(backend)
    meddler = Meddler(None if name == NONE else MUTANTS[name], client)
    relay = Relay(parse_server_endpoint(listen), meddler)
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopping.set)
    await relay.start()
    print("ready", flush=True)
    await stopping.wait()
    await relay.stop()
    await client.close()


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m moorage.testing.mutants", description=__doc__)
    parser.add_argument("name", choices=[NONE, *sorted(MUTANTS)], metavar="NAME")
    parser.add_argument("--listen", required=True, metavar="SOCKET")
    parser.add_argument("--backend", required=True, metavar="SOCKET")
    given = parser.parse_args()
    asyncio.run(serve(given.name, listen=given.listen, backend=given.backend))


if __name__ == "__main__":
    main()
