"""`python -m moorage.testing.kube`: the fake API server as a process of its own, until SIGTERM or SIGINT."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from moorage.testing.kube.cluster import AttachDetach, Binder, NamespaceLifecycle, Protection
from moorage.testing.kube.http import serving
from moorage.testing.kube.server import FakeApiServer

_KUBECONFIG = """\
apiVersion: v1
kind: Config
current-context: fake
contexts: [{{name: fake, context: {{cluster: fake, user: fake}}}}]
clusters: [{{name: fake, cluster: {{server: "{url}"}}}}]
users: [{{name: fake, user: {{}}}}]
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Parse the command line and serve; 2 when the address cannot be listened on."""
    parser = argparse.ArgumentParser(prog="python -m moorage.testing.kube", description=__doc__)
    parser.add_argument("--listen", default="127.0.0.1:0", metavar="HOST:PORT", help="port 0 takes any that is free")
    parser.add_argument("--kubeconfig", type=Path, metavar="FILE", help="write a kubeconfig for this server")
    parser.add_argument("--bare", action="store_true", help="without the simulated controllers of Kubernetes")
    arguments = parser.parse_args(argv)
    host, _, port = arguments.listen.rpartition(":")
    if not host or not port.isdigit():
        parser.error(f"--listen {arguments.listen} is no HOST:PORT; write for example 127.0.0.1:8001")
    return asyncio.run(_serve(host.strip("[]"), int(port), kubeconfig=arguments.kubeconfig, bare=arguments.bare))


async def _serve(host: str, port: int, *, kubeconfig: Path | None, bare: bool) -> int:
    """Serve until a signal comes; the exit code."""
    server = FakeApiServer(behaviours=[] if bare else [Binder(), Protection(), AttachDetach(), NamespaceLifecycle()])
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    try:
        async with serving(server, host=host, port=port) as url:
            _announce(url, kubeconfig)
            await stopped.wait()
    except OSError as error:
        sys.stderr.write(f"{host}:{port} cannot be listened on ({error.strerror}); choose another port\n")
        return 2
    return 0


def _announce(url: str, kubeconfig: Path | None) -> None:
    """Say where the server is, on stdout and in a kubeconfig."""
    if kubeconfig is not None:
        kubeconfig.write_text(_KUBECONFIG.format(url=url))
    sys.stdout.write(msgspec.json.encode({"url": url}).decode() + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
