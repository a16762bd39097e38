"""What an endpoint may look like, and who owns a socket file."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from moorage.rpc.endpoint import (
    Endpoint,
    EndpointError,
    ServerSocket,
    is_live,
    parse_client_endpoint,
    parse_server_endpoint,
)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A directory with a short path: socket paths end at 107 bytes."""
    path = Path(tempfile.mkdtemp(prefix="mr-"))
    yield path
    shutil.rmtree(path)


@contextlib.contextmanager
def listening(path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(os.fspath(path))
        server.listen()
        yield server


def bind(owner: ServerSocket) -> socket.socket:
    """Binds as gRPC does: to the address that the owner hands out."""
    server = socket.socket(socket.AF_UNIX)
    try:
        with owner.binding() as address:
            server.bind(address)
            server.listen()
    except BaseException:
        server.close()
        raise
    return server


def stop(owner: ServerSocket, server: socket.socket) -> None:
    owner.release()
    server.close()
    owner.close()


@pytest.mark.parametrize(
    ("text", "path"),
    [
        pytest.param("unix://{}/csi.sock", "{}/csi.sock", id="three-slashes"),
        pytest.param("unix:{}/csi.sock", "{}/csi.sock", id="one-slash"),
        pytest.param("{}/csi.sock", "{}/csi.sock", id="bare-path"),
        pytest.param("unix://{}/./x/..//csi.sock", "{}/csi.sock", id="normalised"),
    ],
)
def test_both_parsers_accept_unix_paths(text: str, path: str, folder: Path) -> None:
    want = path.format(folder)
    assert parse_server_endpoint(text.format(folder)).path == want
    assert parse_client_endpoint(text.format(folder)) == Endpoint(path=want)
    assert Endpoint(path=want).target == f"unix:{want}"
    assert str(Endpoint(path=want)) == f"unix://{want}"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("", "no endpoint is given", id="empty"),
        pytest.param("tcp://0.0.0.0:10000", "use a unix socket", id="tcp"),
        pytest.param("http:///tmp/csi.sock", "a scheme other than unix", id="other-scheme"),
        pytest.param("unix://csi.sock", "three slashes", id="relative-after-scheme"),
        pytest.param("csi.sock", "three slashes", id="relative"),
        pytest.param("unix:///tmp/csi.sock/", "names no socket file", id="directory"),
        pytest.param("unix:///tmp/csi", "does not end in .sock", id="no-suffix"),
        pytest.param("unix:///nowhere-at-all/csi.sock", "'/nowhere-at-all'", id="no-directory"),
        pytest.param("/tmp/" + "x" * 98 + ".sock", "has 108 bytes and Linux allows 107", id="108-bytes"),
        pytest.param("/tmp/" + "é" * 49 + ".sock", "has 108 bytes", id="bytes-not-characters"),
    ],
)
def test_a_server_endpoint_is_refused_in_one_sentence(text: str, says: str) -> None:
    with pytest.raises(EndpointError) as caught:
        parse_server_endpoint(text)
    assert says in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_path_of_107_bytes_is_accepted() -> None:
    text = "/tmp/" + "x" * 97 + ".sock"
    assert len(parse_server_endpoint(text).path) == 107


def test_a_client_needs_no_suffix_and_no_existing_directory() -> None:
    assert parse_client_endpoint("/run/nobody-made-this/socket").path == "/run/nobody-made-this/socket"


@pytest.mark.parametrize(
    ("text", "target"),
    [
        pytest.param("tcp://127.0.0.1:10000", "dns:///127.0.0.1:10000", id="ipv4"),
        pytest.param("tcp://localhost:1", "dns:///localhost:1", id="localhost"),
        pytest.param("tcp://[::1]:10000", "dns:///[::1]:10000", id="ipv6"),
    ],
)
def test_a_client_may_use_loopback_tcp(text: str, target: str) -> None:
    assert parse_client_endpoint(text).target == target


@pytest.mark.parametrize(
    ("text", "says"),
    [
        pytest.param("tcp://192.0.2.7:10000", "not on this machine", id="remote-address"),
        pytest.param("tcp://example.com:10000", "not on this machine", id="remote-name"),
        pytest.param("tcp://127.0.0.1", "tcp://HOST:PORT", id="no-port"),
        pytest.param("tcp://127.0.0.1:x", "tcp://HOST:PORT", id="bad-port"),
        pytest.param("tcp://:10000", "tcp://HOST:PORT", id="no-host"),
    ],
)
def test_a_client_refuses_other_tcp(text: str, says: str) -> None:
    with pytest.raises(EndpointError, match=says):
        parse_client_endpoint(text)


@pytest.mark.parametrize("mode", [0o600, 0o660], ids=oct)
def test_the_socket_has_the_mode_asked_for_whatever_the_umask(mode: int, folder: Path) -> None:
    owner = ServerSocket(Endpoint(path=f"{folder}/csi.sock"), mode=mode)
    before = os.umask(0)
    try:
        server = bind(owner)
        assert os.umask(0) == 0, "the umask was not put back"
    finally:
        os.umask(before)
    assert stat.S_IMODE((folder / "csi.sock").stat().st_mode) == mode
    stop(owner, server)


def test_nothing_else_is_made_beside_the_socket(folder: Path) -> None:
    owner = ServerSocket(Endpoint(path=f"{folder}/csi.sock"))
    server = bind(owner)
    assert [entry.name for entry in folder.iterdir()] == ["csi.sock"]
    stop(owner, server)
    assert list(folder.iterdir()) == []


def test_a_live_socket_is_not_stolen(folder: Path) -> None:
    path = folder / "csi.sock"
    with listening(path) as live:
        before = path.stat().st_ino
        with pytest.raises(EndpointError, match="another process already serves"):
            bind(ServerSocket(Endpoint(path=os.fspath(path))))
        assert path.stat().st_ino == before
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(os.fspath(path))
        live.accept()[0].close()


def test_a_server_too_busy_to_accept_counts_as_live(folder: Path) -> None:
    path = os.fspath(folder / "csi.sock")
    with socket.socket(socket.AF_UNIX) as server, contextlib.ExitStack() as waiting:
        server.bind(path)
        server.listen(0)
        for _ in range(2):
            client = waiting.enter_context(socket.socket(socket.AF_UNIX))
            client.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                client.connect(path)
        assert is_live(path)


def test_a_stale_socket_is_replaced(folder: Path) -> None:
    path = folder / "csi.sock"
    with listening(path):
        pass
    assert path.is_socket()
    assert not is_live(os.fspath(path))
    owner = ServerSocket(Endpoint(path=os.fspath(path)))
    server = bind(owner)
    assert is_live(os.fspath(path))
    stop(owner, server)


@pytest.mark.parametrize("kind", ["file", "directory", "symlink"])
def test_what_is_not_a_socket_is_left_alone(kind: str, folder: Path) -> None:
    path = folder / "csi.sock"
    if kind == "file":
        path.write_text("precious")
    elif kind == "directory":
        path.mkdir()
    else:
        path.symlink_to(folder / "elsewhere")
    with pytest.raises(EndpointError, match="is not a socket"):
        bind(ServerSocket(Endpoint(path=os.fspath(path))))
    assert os.path.lexists(path)
    if kind == "file":
        assert path.read_text() == "precious"


def test_a_missing_directory_is_named(folder: Path) -> None:
    with pytest.raises(EndpointError, match="'/nowhere-at-all' of the socket"):
        bind(ServerSocket(Endpoint(path="/nowhere-at-all/csi.sock")))


def test_release_removes_our_socket_before_the_server_is_closed(folder: Path) -> None:
    owner = ServerSocket(Endpoint(path=f"{folder}/csi.sock"))
    server = bind(owner)
    owner.release()
    assert not (folder / "csi.sock").exists()
    server.close()
    owner.close()


def test_release_leaves_the_socket_of_a_successor(folder: Path) -> None:
    path = folder / "csi.sock"
    owner = ServerSocket(Endpoint(path=os.fspath(path)))
    server = bind(owner)
    path.unlink()
    with listening(path):
        stop(owner, server)
        assert is_live(os.fspath(path))


def test_release_and_close_may_be_repeated_and_leak_no_descriptor(folder: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    owner = ServerSocket(Endpoint(path=f"{folder}/csi.sock"))
    server = bind(owner)
    for _ in range(2):
        stop(owner, server)
    with pytest.raises(EndpointError):
        bind(ServerSocket(Endpoint(path="/nowhere-at-all/csi.sock")))
    assert len(os.listdir("/proc/self/fd")) == before


def test_a_directory_locked_by_another_process_does_not_hold_up_a_stop(folder: Path) -> None:
    owner = ServerSocket(Endpoint(path=f"{folder}/csi.sock"))
    server = bind(owner)
    other = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    fcntl.flock(other, fcntl.LOCK_EX)
    began_s = time.monotonic()
    stop(owner, server)
    assert time.monotonic() - began_s < 3
    os.close(other)
    successor = ServerSocket(Endpoint(path=f"{folder}/csi.sock"))
    stop(successor, bind(successor))
    assert list(folder.iterdir()) == []


def test_of_many_servers_that_start_at_once_one_wins(folder: Path) -> None:
    path = f"{folder}/csi.sock"
    with listening(folder / "csi.sock"):
        pass
    barrier = threading.Barrier(8)
    won: list[tuple[ServerSocket, socket.socket]] = []
    lost: list[str] = []

    def start() -> None:
        owner = ServerSocket(Endpoint(path=path))
        barrier.wait()
        try:
            won.append((owner, bind(owner)))
        except EndpointError as error:
            lost.append(str(error))

    threads = [threading.Thread(target=start) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(won) == 1
    assert len(lost) == 7
    assert all("another process already serves" in text for text in lost)
    assert is_live(path)
    stop(*won[0])


def test_a_socket_of_a_killed_process_is_replaced(folder: Path) -> None:
    path = f"{folder}/csi.sock"
    code = (
        "import socket, sys; server = socket.socket(socket.AF_UNIX); server.bind(sys.argv[1]); server.listen(); "
        "print(1, flush=True); input()"
    )
    with subprocess.Popen([sys.executable, "-c", code, path], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"1\n"
        with pytest.raises(EndpointError, match="another process"):
            bind(ServerSocket(Endpoint(path=path)))
        child.kill()
        child.wait()
    owner = ServerSocket(Endpoint(path=path))
    stop(owner, bind(owner))
