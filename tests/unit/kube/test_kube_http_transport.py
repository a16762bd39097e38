"""Real connections: what is sent, what comes back, and what breaks on the way."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web
from tests.support.kube_servers import Seen, Talk, serving, talking

from moorage.kube import http_transport
from moorage.kube.config import ClientConfig, Cluster, Impersonation, User
from moorage.kube.credentials import FixedCredentials, Grant
from moorage.kube.errors import Forbidden, Unreachable
from moorage.kube.http_transport import HttpTransport
from moorage.kube.transport import Request, Response, Transport
from moorage.testing.clock import VirtualClock

LIST = Request(method="GET", path="/api/v1/pods", timeout_s=10, verb="list", resource="pods")


def config_for(seen: Seen, *, prefix: str = "", **user: Any) -> ClientConfig:
    return ClientConfig(cluster=Cluster(server=f"http://127.0.0.1:{seen.port}{prefix}"), user=User(**user))


@asynccontextmanager
async def connected(config: ClientConfig, **options: Any) -> AsyncIterator[HttpTransport]:
    transport = HttpTransport(config, **options)
    try:
        yield transport
    finally:
        await transport.close()


async def hello(request: web.Request) -> web.Response:
    return web.Response(body=b'{"a":1}', headers={"X-Thing": "Yes"})


async def drained(transport: Transport, request: Request) -> bytes:
    async with transport.stream(request) as chunks:
        return b"".join([chunk async for chunk in chunks])


async def test_a_request_arrives_as_it_was_made() -> None:
    request = Request(
        method="PATCH",
        path="/api/v1/namespaces/a%20b/pods/p",
        query=(("fieldSelector", "spec.nodeName=a,b&c"), ("labelSelector", "x in (y, ä)")),
        body=b'{"spec":null}',
        content_type="application/merge-patch+json",
        timeout_s=10,
        verb="patch",
        resource="pods",
    )
    async with serving(hello) as seen, connected(config_for(seen, prefix="/k8s/c-1", token="t")) as transport:
        response = await transport.request(request)
    assert response == Response(200, response.headers, b'{"a":1}')
    assert response.headers["x-thing"] == "Yes"
    [found] = seen.requests
    assert (found.method, found.rel_url.raw_path) == ("PATCH", "/k8s/c-1/api/v1/namespaces/a%20b/pods/p")
    assert tuple(found.query.items()) == request.query
    assert seen.bodies == [b'{"spec":null}']
    assert found.headers["Content-Type"] == "application/merge-patch+json"
    assert found.headers["Authorization"] == "Bearer t"
    assert found.headers["User-Agent"].startswith("moorage/")


async def test_a_request_without_body_has_no_content_type_and_an_anonymous_one_no_token() -> None:
    async with serving(hello) as seen, connected(config_for(seen)) as transport:
        await transport.request(LIST)
    assert not {"Content-Type", "Authorization"} & set(seen.requests[0].headers)


async def test_whom_to_act_as() -> None:
    whom = Impersonation(user="jane", uid="7", groups=("dev", "ops"), extra=(("a/b", ("x", "y")),))
    async with serving(hello) as seen, connected(config_for(seen, impersonate=whom)) as transport:
        await transport.request(LIST)
    headers = seen.requests[0].headers
    assert headers["Impersonate-User"] == "jane"
    assert headers["Impersonate-Uid"] == "7"
    assert headers.getall("Impersonate-Group") == ["dev", "ops"]
    assert headers.getall("Impersonate-Extra-a%2Fb") == ["x", "y"]


async def test_headers_that_come_twice_are_joined() -> None:
    async def warn(request: web.Request) -> web.Response:
        response = web.Response(body=b"{}")
        response.headers.add("Warning", "299 - one")
        response.headers.add("Warning", "299 - two")
        return response

    async with serving(warn) as seen, connected(config_for(seen)) as transport:
        response = await transport.request(LIST)
    assert response.headers["warning"] == "299 - one, 299 - two"


async def test_any_status_is_an_answer() -> None:
    async def refuse(request: web.Request) -> web.Response:
        return web.Response(status=409, body=b"{}", headers={"Retry-After": "1"})

    async with serving(refuse) as seen, connected(config_for(seen)) as transport:
        response = await transport.request(LIST)
    assert (response.status, response.headers["retry-after"]) == (409, "1")


async def test_a_redirect_is_not_followed_and_takes_no_token_elsewhere() -> None:
    async def move(request: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": "/elsewhere"})

    async with serving(move) as seen, connected(config_for(seen, token="t")) as transport:
        assert (await transport.request(LIST)).status == 302
    assert len(seen.requests) == 1


async def test_connections_are_kept() -> None:
    async with serving(hello) as seen, connected(config_for(seen)) as transport:
        for _ in range(20):
            await transport.request(LIST)
    assert len(seen.peers) == 1


async def test_the_pool_is_bounded_and_streams_are_beside_it() -> None:
    three_arrived, release = asyncio.Event(), asyncio.Event()
    arrived = 0

    async def hold(request: web.Request) -> web.StreamResponse:
        nonlocal arrived
        response = web.StreamResponse()
        if "watch" not in request.query:
            arrived += 1
            if arrived == 3:
                three_arrived.set()
            await release.wait()
        await response.prepare(request)
        await release.wait()
        return response

    watch = msgspec.structs.replace(LIST, query=(("watch", "true"),), verb="watch", timeout_s=5)
    async with (
        serving(hold) as seen,
        connected(config_for(seen), max_requests=3) as transport,
        asyncio.TaskGroup() as tasks,
        AsyncExitStack() as streams,
    ):
        for _ in range(12):
            tasks.create_task(transport.request(LIST))
        await three_arrived.wait()
        for _ in range(6):
            await streams.enter_async_context(transport.stream(watch))
        assert arrived == 3
        release.set()
    assert arrived == 12


class TestCompression:
    """A proxy stands for a server that is not on this machine."""

    @staticmethod
    async def zipped(request: web.Request) -> web.Response:
        if "gzip" not in request.headers["Accept-Encoding"]:
            return web.Response(body=b"plain")
        return web.Response(body=gzip.compress(b"zipped"), headers={"Content-Encoding": "gzip"})

    @pytest.mark.parametrize(
        ("verb", "changes", "expected"),
        [
            pytest.param("list", {}, b"zipped", id="list"),
            pytest.param("get", {}, b"plain", id="get"),
            pytest.param("list", {"disable_compression": True}, b"plain", id="disabled"),
            pytest.param("list", {"server": "http://localhost:1"}, b"plain", id="loopback"),
        ],
    )
    async def test_lists_from_elsewhere_are_compressed(
        self, verb: str, changes: dict[str, Any], expected: bytes
    ) -> None:
        async with serving(self.zipped) as seen:
            cluster = Cluster(server="http://kube.invalid", proxy_url=f"http://127.0.0.1:{seen.port}")
            async with connected(ClientConfig(cluster=replace(cluster, **changes))) as transport:
                request = Request(method="GET", path="/x", timeout_s=10, verb=verb, resource="pods")
                assert (await transport.request(request)).body == expected


async def test_proxies_of_the_environment_are_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    async with serving(hello) as seen, connected(config_for(seen)) as transport:
        assert (await transport.request(LIST)).status == 200


class TestUnauthorized:
    @staticmethod
    async def only_two(request: web.Request) -> web.Response:
        return web.Response(status=200 if request.headers.get("Authorization") == "Bearer two" else 401)

    async def test_a_token_replaced_meanwhile_is_used_at_once(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_text("one")
        async with serving(self.only_two) as seen, connected(config_for(seen, token_file=path)) as transport:
            assert (await transport.request(LIST)).status == 401
            path.write_text("two")
            put = Request(method="PUT", path="/x", body=b"body", timeout_s=10, verb="update", resource="pods")
            assert (await transport.request(put)).status == 200
        assert seen.bodies == [b"", b"body", b"body"]
        assert len(seen.peers) == 1

    async def test_a_token_that_stays_is_not_tried_twice(self) -> None:
        async with serving(self.only_two) as seen, connected(config_for(seen, token="one")) as transport:
            assert (await transport.request(LIST)).status == 401
        assert len(seen.requests) == 1


class TestBroken:
    """Connections that end badly; the server counts what reached it."""

    @staticmethod
    async def ask(talk: Talk, method: str = "GET", *, timeout_s: float = 10) -> tuple[Unreachable, Seen]:
        request = Request(method=method, path="/x", timeout_s=timeout_s, verb="update", resource="pods", body=b"b")
        async with talking(talk) as seen, connected(config_for(seen)) as transport:
            with pytest.raises(Unreachable) as caught:
                await transport.request(request)
        assert f"127.0.0.1:{seen.port}" in str(caught.value)
        return caught.value, seen

    @pytest.mark.parametrize("method", ["GET", "PUT", "DELETE", "POST"])
    async def test_a_lost_reply_may_have_been_acted_on_and_nothing_is_sent_twice(self, method: str) -> None:
        async def hang_up(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.transport.abort()

        error, seen = await self.ask(hang_up, method)
        assert (error.kind, error.sent) == ("reset", True)
        assert len(seen.peers) == 1

    @pytest.mark.parametrize("method", ["PUT", "DELETE"])
    async def test_nor_over_a_connection_that_was_kept(self, method: str) -> None:
        async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
            await writer.drain()
            await reader.readuntil(b"\r\n\r\n")
            writer.transport.abort()

        async with talking(once) as seen, connected(config_for(seen)) as transport:
            await transport.request(LIST)
            with pytest.raises(Unreachable) as caught:
                await transport.request(Request(method=method, path="/x", timeout_s=10, verb="v", resource="pods"))
        assert (caught.value.kind, caught.value.sent) == ("reset", True)
        assert len(seen.peers) == 1

    async def test_half_an_answer_is_none(self) -> None:
        async def half(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await writer.drain()

        error, _ = await self.ask(half)
        assert (error.kind, error.sent) == ("reset", True)

    async def test_silence_ends_with_the_time_allowed(self) -> None:
        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        error, _ = await self.ask(silent, timeout_s=0.2)
        assert (error.kind, error.sent) == ("timeout", True)
        assert "(0.2 s)" in str(error)

    async def test_a_body_that_never_ends_too(self) -> None:
        async def trickle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
            await writer.drain()
            await reader.read()

        error, _ = await self.ask(trickle, timeout_s=0.2)
        assert error.kind == "timeout"

    async def test_a_server_that_speaks_something_else(self) -> None:
        async def other(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"SSH-2.0-OpenSSH_9.2\r\n\r\n")
            await writer.drain()

        error, _ = await self.ask(other)
        assert error.kind == "other"
        assert "check that it is an API server" in str(error)


async def test_nobody_listens() -> None:
    async with serving(hello) as seen:
        config = config_for(seen)
    async with connected(config) as transport:
        with pytest.raises(Unreachable, match="check that it runs there") as caught:
            await transport.request(LIST)
    assert (caught.value.kind, caught.value.sent) == ("refused", False)


async def test_a_name_that_does_not_exist() -> None:
    async with connected(ClientConfig(cluster=Cluster(server="http://kube.invalid:1"))) as transport:
        with pytest.raises(Unreachable, match="cannot be resolved") as caught:
            await transport.request(LIST)
    assert (caught.value.kind, caught.value.sent) == ("name", False)


class TestStream:
    async def test_chunks_come_when_they_are_sent(self) -> None:
        go_on = asyncio.Event()

        async def two(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            await response.write(b"one\n")
            await go_on.wait()
            await response.write(b"two\n")
            return response

        async with (
            serving(two) as seen,
            connected(config_for(seen)) as transport,
            transport.stream(LIST) as chunks,
        ):
            assert await anext(chunks) == b"one\n"
            go_on.set()
            assert [chunk async for chunk in chunks] == [b"two\n"]

    async def test_a_refusal_is_raised_when_opening(self) -> None:
        async def refuse(request: web.Request) -> web.Response:
            return web.json_response({"reason": "Forbidden", "message": "may not watch pods"}, status=403)

        async with serving(refuse) as seen, connected(config_for(seen)) as transport:
            with pytest.raises(Forbidden, match="may not watch pods"):
                await drained(transport, LIST)

    async def test_a_cut_stream_is_told_from_one_that_ended(self) -> None:
        async def cut(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
            await writer.drain()

        async with (
            talking(cut) as seen,
            connected(config_for(seen)) as transport,
            transport.stream(LIST) as chunks,
        ):
            assert await anext(chunks) == b"one\n"
            with pytest.raises(Unreachable) as caught:
                await anext(chunks)
        assert caught.value.kind == "reset"

    async def test_a_stream_ends_with_its_time(self) -> None:
        async with serving(self.endless) as seen, connected(config_for(seen)) as transport:
            request = Request(method="GET", path="/x", timeout_s=0.3, verb="watch", resource="pods")
            with pytest.raises(Unreachable) as caught:
                await drained(transport, request)
        assert caught.value.kind == "timeout"

    async def test_a_server_that_never_opens_it_is_not_waited_for(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(http_transport, "OPEN_TIMEOUT_S", 0.2)

        async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.read()

        async with talking(silent) as seen, connected(config_for(seen)) as transport:
            with pytest.raises(Unreachable) as caught:
                await drained(transport, msgspec.structs.replace(LIST, timeout_s=60))
        assert caught.value.kind == "timeout"

    async def test_leaving_closes_the_connection(self) -> None:
        closed = asyncio.Event()

        async def until_closed(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
            await reader.read()
            closed.set()

        async with talking(until_closed) as seen, connected(config_for(seen)) as transport:
            async with transport.stream(LIST) as chunks:
                assert await anext(chunks) == b"one\n"
            async with asyncio.timeout(5):
                await closed.wait()

    async def test_a_replaced_token_ends_the_stream(self, tmp_path: Path) -> None:
        path = tmp_path / "token"
        path.write_text("one")
        send = asyncio.Event()

        async def bookmarks(request: web.Request) -> web.StreamResponse:
            response = web.StreamResponse()
            await response.prepare(request)
            while True:
                await response.write(b"bookmark\n")
                await send.wait()
                send.clear()

        clock = VirtualClock()
        async with serving(bookmarks) as seen, connected(config_for(seen, token_file=path), clock=clock) as transport:
            async with transport.stream(LIST) as chunks:
                await anext(chunks)
                clock.shift(20)
                send.set()
                assert await anext(chunks) == b"bookmark\n"
                path.write_text("two")
                clock.shift(20)
                with pytest.raises(StopAsyncIteration):
                    await anext(chunks)
            async with transport.stream(LIST) as chunks:
                await anext(chunks)
        assert [request.headers["Authorization"] for request in seen.requests] == ["Bearer one", "Bearer two"]

    async def test_a_stream_is_not_given_up_while_no_new_credentials_can_be_had(self) -> None:
        class Failing(FixedCredentials):
            asked = 0

            async def grant(self) -> Grant:
                self.asked += 1
                if self.asked > 1:
                    raise Unreachable("the plugin failed")
                return Grant()

        credentials = Failing()
        async with serving(hello) as seen, connected(config_for(seen), credentials=credentials) as transport:
            assert await drained(transport, LIST) == b'{"a":1}'
        assert credentials.asked == 2

    async def test_a_consumer_that_fails_sees_its_own_error(self) -> None:
        async with serving(hello) as seen, connected(config_for(seen)) as transport:
            with pytest.raises(TimeoutError, match="mine"):
                async with transport.stream(LIST):
                    raise TimeoutError("mine")

    @staticmethod
    async def endless(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await asyncio.Event().wait()
        return response


class TestClose:
    async def test_what_is_under_way_ends(self) -> None:
        arrived = asyncio.Event()

        async def wait(request: web.Request) -> web.Response:
            arrived.set()
            await asyncio.Event().wait()
            return web.Response()

        async with serving(wait) as seen:
            transport = HttpTransport(config_for(seen))
            running = asyncio.create_task(transport.request(LIST))
            await arrived.wait()
            await transport.close()
            with pytest.raises(Unreachable):
                await running

    async def test_a_closed_transport_says_so(self) -> None:
        transport = HttpTransport(ClientConfig(cluster=Cluster(server="http://127.0.0.1:1")))
        await transport.close()
        await transport.close()
        with pytest.raises(Unreachable, match="has been closed"):
            await transport.request(LIST)
