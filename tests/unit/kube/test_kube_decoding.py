"""Answers become objects or stay bytes, and what cannot be decoded is named."""

from __future__ import annotations

import json

import pytest
from msgspec import Struct

from moorage.kube.decoding import Page, decode_object, decode_page, encode_new
from moorage.kube.errors import Undecodable
from moorage.kube.resource import VOLUME_SNAPSHOTS


class Thing(Struct, omit_defaults=True):
    name: str
    size: int = 0


def body(**more: object) -> bytes:
    return json.dumps({"kind": "ThingList", "metadata": {"resourceVersion": "9"}, **more}).encode()


def test_a_page_of_structs() -> None:
    metadata = {"resourceVersion": "9", "continue": "tok", "remainingItemCount": 41}
    page = decode_page(body(metadata=metadata, items=[{"name": "a", "x": 1}, {"name": "b"}]), Thing, what="things")
    assert page == Page([Thing("a"), Thing("b")], "9", "tok", 41)


@pytest.mark.parametrize("items", [{"items": None}, {"items": []}, {}])
def test_an_empty_list_in_all_its_forms(items: dict[str, object]) -> None:
    assert decode_page(body(**items), Thing, what="things") == Page([], "9")


def test_items_as_bytes_are_as_they_came() -> None:
    page = decode_page(b'{"metadata":{"resourceVersion":"9"},"items":[{"a": 1.0},{}]}', bytes, what="things")
    assert page.items == [b'{"a": 1.0}', b"{}"]
    assert all(type(item) is bytes for item in page.items)


def test_an_object_as_bytes_is_the_body_itself() -> None:
    raw = b'{"a":  1}'
    assert decode_object(raw, bytes, what="a thing") is raw


@pytest.mark.parametrize("raw", [b"<html>", b'{"name":5}', b'{"name":"\xff"}', b""])
def test_what_cannot_be_decoded_is_named(raw: bytes) -> None:
    with pytest.raises(Undecodable, match="get of things"):
        decode_object(raw, Thing, what="get of things")
    with pytest.raises(Undecodable, match="the list of things"):
        decode_page(raw, Thing, what="things")


def test_new_objects_get_the_kind_of_their_resource() -> None:
    expected = {"apiVersion": "snapshot.storage.k8s.io/v1", "kind": "VolumeSnapshot", "name": "a"}
    assert json.loads(encode_new(VOLUME_SNAPSHOTS, {"name": "a"})) == expected
    assert json.loads(encode_new(VOLUME_SNAPSHOTS, Thing("a"))) == expected
    assert json.loads(encode_new(VOLUME_SNAPSHOTS, {"kind": "Other"}))["kind"] == "Other"
    assert encode_new(VOLUME_SNAPSHOTS, b"raw") == b"raw"
