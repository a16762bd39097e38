"""Servers that are dead, seen by those who use others: no server takes more than its share."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Iterator, Sequence

import pytest
import pytest_asyncio

from moorage.framework.network_mounts import NetworkMounts
from moorage.framework.source import NetworkMount
from moorage.host.helper import HelperBusy, HelperTimeout, MountHelper
from moorage.host.stats import FilesystemStats
from moorage.spec.errors import FailedPrecondition, Unavailable

FIGURES = FilesystemStats(10, 6, 4, 0, 0, 0)


def of(server: str, path: str = "/a", timeout_s: float = 5.0) -> NetworkMount:
    return NetworkMount(f"{server}:{path}", "nfs4", options=("password=hunter2",), timeout_s=timeout_s)


class Children(MountHelper):
    """Helper processes in name only: what is mounted from `dead` waits for `answer`."""

    def __init__(self) -> None:
        super().__init__()
        self.answer = threading.Event()
        self.running: list[str] = []
        self.most: dict[str, int] = {}
        self.asked = 0
        self.error: Exception | None = None
        self.dead: HelperTimeout | None = None

    def mount(
        self,
        source: str,
        target: str,
        *,
        fs_type: str,
        options: Sequence[str] = (),
        with_program: bool = False,
        timeout_s: float = 60.0,
    ) -> bool:
        del target, fs_type, options, with_program
        if self.error is not None:
            raise self.error
        server = source.partition(":")[0]
        if self.dead is not None and server.startswith("dead"):
            raise self.dead
        self.running.append(server)
        self.most[server] = max(self.most.get(server, 0), self.running.count(server))
        if server == "dead":
            assert self.answer.wait(timeout_s)
        self.running.remove(server)
        return True

    def bind(self, source: str, target: str, *, readonly: bool = False, timeout_s: float = 60.0) -> bool:
        del source, target, readonly, timeout_s
        return True

    def unmount(self, path: str, *, lazy: bool = False, timeout_s: float = 60.0) -> bool:
        del path, lazy, timeout_s
        return True

    def statfs(self, path: str, *, timeout_s: float = 10.0) -> FilesystemStats:
        self.asked += 1
        if self.error is not None:
            raise self.error
        if path == "/slow":
            assert self.answer.wait(timeout_s)
        return FIGURES


@pytest.fixture
def children() -> Iterator[Children]:
    made = Children()
    yield made
    made.answer.set()


@pytest_asyncio.fixture
async def network(children: Children) -> AsyncIterator[NetworkMounts]:
    made = NetworkMounts(change_timeout_s=5.0, question_timeout_s=5.0)
    made._changes.helper = children
    made._questions.helper = children
    yield made
    await made.close()


@pytest.fixture
def stopped() -> Iterator[subprocess.Popen[bytes]]:
    """A process that does not end by itself."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


async def test_a_dead_server_leaves_room_for_the_others(network: NetworkMounts, children: Children) -> None:
    hanging = [asyncio.create_task(network.mount(of("dead", f"/{n}"), "/t", ())) for n in range(20)]
    for number in range(20):
        async with asyncio.timeout(5.0):
            await network.mount(of(f"alive{number}"), "/t", ())
    assert children.most["dead"] == 4
    children.answer.set()
    await asyncio.gather(*hanging)


async def test_waiting_for_a_dead_server_ends(network: NetworkMounts, children: Children) -> None:
    hanging = [asyncio.create_task(network.mount(of("dead", f"/{n}"), "/t", ())) for n in range(4)]
    while len(children.running) < 4:
        await asyncio.sleep(0)
    with pytest.raises(Unavailable, match="'dead' already"):
        await network.mount(of("dead", timeout_s=0.05), "/t", ())
    children.answer.set()
    await asyncio.gather(*hanging)
    await network.mount(of("dead"), "/t", ())


async def test_a_mount_is_not_over_before_its_process_is(
    network: NetworkMounts, children: Children, stopped: subprocess.Popen[bytes]
) -> None:
    """Nobody may work with the path while the kernel may still mount something there."""
    children.error = HelperTimeout("mount", "/t", timeout_s=1.0, process=stopped)
    mounting = asyncio.create_task(network.mount(of("dead"), "/t", ()))
    done, _ = await asyncio.wait({mounting}, timeout=0.2)
    assert not done
    stopped.kill()
    with pytest.raises(Unavailable, match="did not finish within 1 s"):
        await mounting


@pytest.fixture
def dying(children: Children, stopped: subprocess.Popen[bytes]) -> None:
    """Children of which those that work for `dead...` pass their deadline and survive being killed."""
    children.dead = HelperTimeout("mount", "/t", timeout_s=1.0, process=stopped)


async def lose(network: NetworkMounts, servers: int) -> list[asyncio.Task[None]]:
    """Have `servers` servers hang with all that one may have."""
    sources = [of(f"dead{server}", f"/{n}") for server in range(servers) for n in range(4)]
    hanging = [asyncio.create_task(network.mount(source, "/t", ())) for source in sources]
    while network._lost < len(sources):
        await asyncio.sleep(0.001)
    return hanging


@pytest.mark.usefixtures("dying")
async def test_what_many_dead_servers_leave_behind_is_in_nobodys_way(
    network: NetworkMounts, stopped: subprocess.Popen[bytes]
) -> None:
    hanging = await lose(network, 4)
    async with asyncio.timeout(3.0):
        await network.mount(of("alive"), "/alive", ())
        await network.bind("alive:/a", "/alive", "/bound", readonly=False)
        await network.unmount("alive:/a", "/alive")
    assert not any(task.done() for task in hanging)
    stopped.kill()
    assert {type(end) for end in await asyncio.gather(*hanging, return_exceptions=True)} == {Unavailable}


@pytest.mark.usefixtures("dying")
async def test_when_very_much_hangs_only_unmounts_go_on(
    network: NetworkMounts, stopped: subprocess.Popen[bytes]
) -> None:
    hanging = await lose(network, 8)
    async with asyncio.timeout(3.0):
        with pytest.raises(Unavailable, match="32 operations hang"):
            await network.mount(of("alive"), "/alive", ())
        with pytest.raises(Unavailable, match="32 operations hang"):
            await network.bind("alive:/a", "/alive", "/bound", readonly=False)
        await network.unmount("alive:/a", "/alive")
    stopped.kill()
    await asyncio.gather(*hanging, return_exceptions=True)
    await network.mount(of("alive"), "/alive", ())


async def test_statistics_of_a_dead_server_are_refused_at_once_and_asked_again_when_it_let_go(
    network: NetworkMounts, children: Children, stopped: subprocess.Popen[bytes]
) -> None:
    children.error = HelperTimeout("statfs", "/t", timeout_s=1.0, process=stopped)
    for _ in range(3):
        with pytest.raises(Unavailable, match="statfs of /t did not finish"):
            await network.usage(of("dead"), "/t")
    assert children.asked == 1
    children.error = None
    assert await network.usage(of("dead"), "/other") == FIGURES
    stopped.kill()
    stopped.wait()
    assert await network.usage(of("dead"), "/t") == FIGURES


async def test_one_question_for_all_who_ask_the_same(network: NetworkMounts, children: Children) -> None:
    asking = [asyncio.create_task(network.usage(of("dead"), "/slow")) for _ in range(5)]
    while not children.asked:
        await asyncio.sleep(0)
    asking[0].cancel()
    children.answer.set()
    assert await asyncio.gather(*asking[1:]) == [FIGURES] * 4
    assert children.asked == 1


@pytest.mark.parametrize(
    ("error", "answer", "words"),
    [
        (OSError(5, "mount of nas:/a on /t failed: access denied"), Unavailable, "access denied"),
        (OSError(19, "no such device"), FailedPrecondition, "cannot mount nfs4"),
        (HelperBusy(11, "8 are stuck"), Unavailable, "8 are stuck"),
    ],
    ids=["refused-by-the-server", "no-kernel-module", "too-much-hangs"],
)
async def test_what_goes_wrong_is_said(
    network: NetworkMounts, children: Children, error: OSError, answer: type[Exception], words: str
) -> None:
    children.error = error
    with pytest.raises(answer, match=words) as caught:
        await network.mount(of("nas"), "/t", ())
    assert "hunter2" not in str(caught.value)


def test_a_network_mount_does_not_print_its_options() -> None:
    assert "hunter2" not in repr(of("nas"))
    assert repr(of("nas")) == "NetworkMount('nas:/a', 'nfs4', <1 options>)"
