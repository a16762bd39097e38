"""The small server answers what it should, and shrugs off what it should not be sent."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from moorage.base.http import Address, HttpServer, Response, parse_address


async def metrics() -> Response:
    return 200, "text/plain", b"up 1\n"


async def unhealthy() -> Response:
    return 503, "text/plain", b"no\n"


async def broken() -> Response:
    raise RuntimeError("boom")


async def endless() -> Response:
    await asyncio.Event().wait()
    return await metrics()


@pytest.fixture
async def address() -> AsyncIterator[Address]:
    routes = {"/metrics": metrics, "/healthz": unhealthy, "/broken": broken, "/endless": endless}
    server = HttpServer(routes, header_timeout_s=0.2, handler_timeout_s=0.2)
    yield await server.start(Address("127.0.0.1", 0))
    await server.close()


async def ask(address: Address, request: bytes) -> tuple[str, bytes]:
    """Status line and body of the answer to raw bytes."""
    async with asyncio.timeout(10):
        reader, writer = await asyncio.open_connection(address.host, address.port)
        writer.write(request)
        answer = await reader.read()
        writer.close()
    head, _, body = answer.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    assert "Connection: close" in lines
    return lines[0], body


@pytest.mark.parametrize(
    ("request_", "status", "body"),
    [
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "200 OK", b"up 1\n", id="get"),
        pytest.param(b"GET /metrics?x=1 HTTP/1.0\r\n\r\n", "200 OK", b"up 1\n", id="query"),
        pytest.param(b"HEAD /metrics HTTP/1.1\r\n\r\n", "200 OK", b"", id="head"),
        pytest.param(b"GET /healthz HTTP/1.1\r\n\r\n", "503 Service Unavailable", b"no\n", id="own-status"),
        pytest.param(b"GET /x HTTP/1.1\r\n\r\n", "404 Not Found", b"Not Found\n", id="unknown"),
        pytest.param(b"POST /metrics HTTP/1.1\r\n\r\n", "405 Method Not Allowed", b"Method Not Allowed\n", id="post"),
        pytest.param(b"GET /broken HTTP/1.1\r\n\r\n", "500 Internal Server Error", None, id="handler-fails"),
        pytest.param(b"GET /endless HTTP/1.1\r\n\r\n", "503 Service Unavailable", None, id="handler-hangs"),
        pytest.param(b"nonsense\r\n\r\n", "400 Bad Request", None, id="nonsense"),
        pytest.param(b"GET http://x/ HTTP/1.1\r\n\r\n", "400 Bad Request", None, id="proxy-form"),
        pytest.param(b"GET /metrics HTTP/1.1\r\nHost:", "408 Request Timeout", None, id="slow-header"),
        pytest.param(b"GET /" + b"a" * 9000, "431 Request Header Fields Too Large", None, id="long-header"),
    ],
)
async def test_answer(address: Address, request_: bytes, status: str, body: bytes | None) -> None:
    line, got = await ask(address, request_)
    assert line == f"HTTP/1.1 {status}"
    assert body is None or got == body


async def test_client_that_vanishes_harms_nobody(address: Address) -> None:
    _, writer = await asyncio.open_connection(address.host, address.port)
    writer.transport.abort()
    line, _ = await ask(address, b"GET /metrics HTTP/1.1\r\n\r\n")
    assert line.endswith("200 OK")


async def test_close_ends_slow_answers_after_the_grace_and_frees_the_port() -> None:
    server = HttpServer({"/endless": endless}, handler_timeout_s=60)
    address = await server.start(Address("127.0.0.1", 0))
    reader, writer = await asyncio.open_connection(address.host, address.port)
    writer.write(b"GET /endless HTTP/1.1\r\n\r\n")
    await writer.drain()
    while not any("HttpServer._serve" in repr(task) for task in asyncio.all_tasks()):
        await asyncio.sleep(0.001)
    async with asyncio.timeout(10):
        await server.close(grace_s=0.01)
        assert await reader.read() == b""
    writer.close()
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(address.host, address.port)
    await server.close()


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("127.0.0.1:8080", Address("127.0.0.1", 8080)),
        (":9898", Address("", 9898)),
        ("[::1]:0", Address("::1", 0)),
        ("localhost:80", Address("localhost", 80)),
    ],
)
def test_address_is_parsed(text: str, address: Address) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize("text", ["", "8080", "host:", "host:http", "::1:80", "h:99999", "h:-1"])
def test_bad_address_is_named(text: str) -> None:
    with pytest.raises(ValueError, match="is not HOST:PORT"):
        parse_address(text)
