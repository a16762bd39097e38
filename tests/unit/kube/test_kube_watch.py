"""Lines and events come out of chunks of any size, each decoded once, whatever their size."""

from __future__ import annotations

import json
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Struct
from tests.support.kube_client import in_no_time

from moorage.kube import watch
from moorage.kube.errors import Gone, Undecodable
from moorage.kube.watch import Bookmark, Change, EventDecoder, events, lines, type_of


class Metadata(Struct, rename="camel"):
    name: str
    resource_version: str


class Thing(Struct):
    metadata: Metadata


async def give(chunks: Sequence[bytes]) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


def split(chunks: Sequence[bytes]) -> list[bytes]:
    async def work() -> list[bytes]:
        return [line async for line in lines(give(chunks))]

    return in_no_time(work())[0]


def event(kind: str, name: str = "a", **more: Any) -> bytes:
    found = {"metadata": {"name": name, "resourceVersion": "7", "managedFields": [{"manager": "x"}]}, **more}
    return json.dumps({"type": kind, "object": found}, separators=(",", ":")).encode()


@given(
    st.lists(st.binary().map(lambda line: line.replace(b"\n", b"")).filter(lambda line: line.strip() != b"")),
    st.lists(st.integers(1, 9), min_size=1),
    st.binary().map(lambda rest: rest.replace(b"\n", b"")),
)
def test_lines_survive_any_chunking(content: list[bytes], sizes: list[int], unfinished: bytes) -> None:
    body = b"".join(line + b"\n" for line in content) + unfinished
    chunks = []
    position = 0
    for count in range(len(body) + 1):
        size = sizes[count % len(sizes)]
        chunks.append(body[position : position + size])
        position += size
    assert split(chunks) == content


def test_blank_lines_are_no_events() -> None:
    assert split([b"\n \r\n", b"a\n\n"]) == [b"a"]


def test_a_large_line_in_small_chunks_takes_linear_time() -> None:
    def seconds_for(size_bytes: int) -> float:
        chunks = [b"x" * 1000] * (size_bytes // 1000) + [b"\n"]
        start_s = time.process_time()
        assert len(split(chunks)[0]) == size_bytes
        return time.process_time() - start_s

    seconds_for(1_000_000)
    assert seconds_for(32_000_000) < 60 * max(seconds_for(2_000_000), 0.002)


def test_a_line_without_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch, "MAX_LINE_BYTES", 1 << 20)
    with pytest.raises(Undecodable, match="more than 1 MiB"):
        split([b"x" * 100_000] * 11)


@pytest.mark.parametrize("kind", ["ADDED", "MODIFIED", "DELETED"])
def test_a_change_is_decoded_to_its_type(kind: Any) -> None:
    assert EventDecoder(Thing).decode(event(kind)) == Change(kind, Thing(Metadata("a", "7")))


def test_bytes_give_the_object_as_it_came() -> None:
    found = EventDecoder(bytes).decode(event("ADDED", spec={"x": 1.50}))
    assert isinstance(found, Change)
    assert type(found.object) is bytes
    assert found.object == event("ADDED", spec={"x": 1.50})[len(b'{"type":"ADDED","object":') : -1]


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"object":{"metadata":{"name":"a","resourceVersion":"7"}},"type":"ADDED"}', id="object-first"),
        pytest.param(b'{ "type": "ADDED", "object": {"metadata":{"name":"a","resourceVersion":"7"}}}', id="blanks"),
    ],
)
def test_other_ways_to_write_an_event_are_understood(line: bytes) -> None:
    assert type_of(line) == "ADDED"
    assert EventDecoder(Thing).decode(line) == Change("ADDED", Thing(Metadata("a", "7")))


def test_bookmarks_need_not_be_whole_objects() -> None:
    line = b'{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"12746"}}}'
    assert EventDecoder(Thing).decode(line) == Bookmark("12746")


def test_the_bookmark_after_the_first_state_is_marked() -> None:
    annotations = {"k8s.io/initial-events-end": "true"}
    line = json.dumps(
        {"type": "BOOKMARK", "object": {"metadata": {"resourceVersion": "5", "annotations": annotations}}}
    )
    assert EventDecoder(Thing).decode(line.encode()) == Bookmark("5", initial_events_end=True)


def test_an_error_event_is_raised() -> None:
    status = {"kind": "Status", "reason": "Expired", "code": 410, "message": "too old resource version: 1 (9)"}
    line = json.dumps({"type": "ERROR", "object": status}).encode()
    with pytest.raises(Gone, match="too old"):
        EventDecoder(Thing).decode(line)


@pytest.mark.parametrize(
    "line",
    [
        pytest.param(b'{"type":"ADDED","object":{"metadata":{"name":5}}}', id="wrong-type"),
        pytest.param(b'{"type":"ADDED","obj', id="cut"),
        pytest.param(b'{"type":"RENAMED","object":{}}', id="unknown-type"),
        pytest.param(b"nonsense", id="no-json"),
        pytest.param(b'{"type":"ADDED"}', id="no-object"),
        pytest.param(b'{"type":"\xff"}', id="no-text"),
    ],
)
def test_what_is_no_event_is_undecodable(line: bytes) -> None:
    with pytest.raises(Undecodable):
        EventDecoder(Thing).decode(line)


def test_events_of_a_body() -> None:
    body = b"\n".join([event("ADDED", "a"), event("MODIFIED", "b"), b""])

    async def work() -> list[str]:
        found = events(give([body[:50], body[50:]]), EventDecoder(Thing))
        return [one.object.metadata.name async for one in found if isinstance(one, Change)]

    assert in_no_time(work())[0] == ["a", "b"]
