"""The verbs that write: create, delete, the four patches and PUT. Part of `moorage.kube.api.Api`."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterable, Mapping
from typing import Any, Final, Literal, TypeAlias, TypeVar

from msgspec import Struct

from moorage.kube.calling import Caller, Query, query
from moorage.kube.decoding import Body, decode_object, encode, encode_new
from moorage.kube.errors import Conflict, Invalid
from moorage.kube.patch import Edit, Operation, edit_raw, preconditions
from moorage.kube.resource import Resource

__all__ = ["Propagation", "Writes"]

T = TypeVar("T")
Propagation: TypeAlias = Literal["Background", "Foreground", "Orphan"]

MERGE_PATCH: Final = "application/merge-patch+json"
JSON_PATCH: Final = "application/json-patch+json"
STRATEGIC_PATCH: Final = "application/strategic-merge-patch+json"
APPLY_PATCH: Final = "application/apply-patch+yaml"
UPDATE_ATTEMPTS: Final = 5
UPDATE_PAUSE_S: Final = 0.01


class Writes:
    """Changing objects; see `moorage.kube.api.Api` for what all calls have in common."""

    _caller: Caller

    async def create(
        self,
        resource: Resource,
        as_: type[T],
        body: Body,
        *,
        namespace: str = "",
        name: str = "",
        subresource: str = "",
        timeout_s: float | None = None,
    ) -> T:
        """Create an object, or with `name` and `subresource` post to a subresource such as `token`.

        apiVersion and kind may be left out. Raises AlreadyExists, Invalid.
        """
        path = resource.path(namespace, name, subresource)
        sent = encode_new(resource, body)
        answer = await self._caller.send("create", "POST", resource.plural, path=path, body=sent, timeout_s=timeout_s)
        return decode_object(answer, as_, what=f"create of {resource.group_resource}")

    async def delete(
        self,
        resource: Resource,
        *,
        name: str,
        namespace: str = "",
        uid: str = "",
        resource_version: str = "",
        propagation: Propagation | None = None,
        grace_period_s: int | None = None,
        timeout_s: float | None = None,
    ) -> None:
        """Ask for the deletion of an object; finalizers may keep it for a while.

        With `uid` or `resource_version` only that object, or that state of it, else Conflict. Raises NotFound.
        """
        options: dict[str, Any] = {"apiVersion": "v1", "kind": "DeleteOptions"}
        if conditions := preconditions(uid=uid, resource_version=resource_version):
            options["preconditions"] = conditions
        if propagation:
            options["propagationPolicy"] = propagation
        if grace_period_s is not None:
            options["gracePeriodSeconds"] = grace_period_s
        path = resource.path(namespace, name)
        await self._caller.send(
            "delete", "DELETE", resource.plural, path=path, body=encode(options), timeout_s=timeout_s
        )

    async def patch_merge(
        self,
        resource: Resource,
        as_: type[T],
        patch: Body,
        *,
        name: str,
        namespace: str = "",
        subresource: str = "",
        uid: str = "",
        resource_version: str = "",
        timeout_s: float | None = None,
    ) -> T:
        """Merge `patch` into the object: None removes a key, a list replaces the whole list (RFC 7386).

        With `uid` or `resource_version` only if they are still those of the object, else Conflict.
        """
        if conditions := preconditions(uid=uid, resource_version=resource_version):
            if not isinstance(patch, Mapping):
                raise TypeError("a merge patch with conditions must be a mapping, so that they can be added to it")
            patch = {**patch, "metadata": {**patch.get("metadata", {}), **conditions}}
        path = resource.path(namespace, name, subresource)
        try:
            return await self._patch(MERGE_PATCH, resource, as_, path, encode(patch), timeout_s=timeout_s)
        except Invalid as error:
            # The API server has no conditions on patches: to it this is an attempt to change the uid.
            if uid and any(cause.field == "metadata.uid" for cause in error.details.causes or ()):
                raise _another_object(f"{resource.group_resource} {name!r}", uid) from error
            raise

    async def patch_strategic(
        self,
        resource: Resource,
        as_: type[T],
        patch: Body,
        *,
        name: str,
        namespace: str = "",
        subresource: str = "",
        timeout_s: float | None = None,
    ) -> T:
        """Merge `patch`, lists by their keys; only the server's own kinds know it, others answer 415."""
        path = resource.path(namespace, name, subresource)
        return await self._patch(STRATEGIC_PATCH, resource, as_, path, encode(patch), timeout_s=timeout_s)

    async def patch_json(
        self,
        resource: Resource,
        as_: type[T],
        operations: Iterable[Operation],
        *,
        name: str,
        namespace: str = "",
        subresource: str = "",
        timeout_s: float | None = None,
    ) -> T:
        """Do all `operations` in order, or none (RFC 6902). Raises Invalid when a test or a path fails."""
        path = resource.path(namespace, name, subresource)
        body = encode([operation.as_json() for operation in operations])
        return await self._patch(JSON_PATCH, resource, as_, path, body, timeout_s=timeout_s)

    async def patch_apply(
        self,
        resource: Resource,
        as_: type[T],
        body: Body,
        *,
        name: str,
        field_manager: str,
        namespace: str = "",
        subresource: str = "",
        force: bool = False,
        timeout_s: float | None = None,
    ) -> T:
        """Server-side apply: create the object, or make these fields so and own them as `field_manager`.

        Raises Conflict when another manager owns a field, unless `force` takes it over.
        """
        path = resource.path(namespace, name, subresource)
        parameters = query(("fieldManager", field_manager), ("force", "true" if force else ""))
        sent = encode_new(resource, body)
        return await self._patch(APPLY_PATCH, resource, as_, path, sent, parameters=parameters, timeout_s=timeout_s)

    async def replace_raw(
        self,
        resource: Resource,
        as_: type[T],
        raw: bytes,
        *,
        name: str,
        namespace: str = "",
        subresource: str = "",
        timeout_s: float | None = None,
    ) -> T:
        """PUT the whole JSON, for where a role allows `update` but not `patch`.

        `raw` comes from reading the object as `bytes` and `moorage.kube.patch.edit_raw`, and holds the
        resourceVersion that was read. Raises Conflict when the object has changed since.
        """
        path = resource.path(namespace, name, subresource)
        answer = await self._caller.send("update", "PUT", resource.plural, path=path, body=raw, timeout_s=timeout_s)
        return decode_object(answer, as_, what=f"update of {resource.group_resource}")

    async def update(
        self,
        resource: Resource,
        as_: type[T],
        edit: Edit,
        *,
        name: str,
        namespace: str = "",
        subresource: str = "",
        uid: str = "",
        timeout_s: float | None = None,
    ) -> T | None:
        """Read the JSON, `edit` it and PUT it; again when the object changed in between, up to five times.

        For edits that do not depend on what else changes, such as a finalizer. None when `edit` found nothing
        to change. With `uid` only that object, else Conflict. Each request has `timeout_s`.
        """
        path = resource.path(namespace, name, subresource)
        for attempt in range(1, UPDATE_ATTEMPTS + 1):
            raw = await self._caller.send("get", "GET", resource.plural, path=path, timeout_s=timeout_s)
            _require_uid(raw, uid, what=f"{resource.group_resource} {name!r}")
            if (edited := edit_raw(raw, edit)) is None:
                return None
            try:
                answer = await self._caller.send(
                    "update", "PUT", resource.plural, path=path, body=edited, timeout_s=timeout_s
                )
            except Conflict:
                if attempt == UPDATE_ATTEMPTS:
                    raise
                await asyncio.sleep(UPDATE_PAUSE_S * (1 + random.random()))
            else:
                return decode_object(answer, as_, what=f"update of {resource.group_resource}")
        return None

    async def _patch(
        self,
        content_type: str,
        resource: Resource,
        as_: type[T],
        path: str,
        body: bytes,
        *,
        parameters: Query = (),
        timeout_s: float | None,
    ) -> T:
        answer = await self._caller.send(
            "patch",
            "PATCH",
            resource.plural,
            path=path,
            parameters=parameters,
            body=body,
            content_type=content_type,
            timeout_s=timeout_s,
        )
        return decode_object(answer, as_, what=f"patch of {resource.group_resource}")


class _Metadata(Struct, frozen=True):
    uid: str = ""


class _Identity(Struct, frozen=True):
    metadata: _Metadata


def _require_uid(raw: bytes, uid: str, *, what: str) -> None:
    if uid and decode_object(raw, _Identity, what=what).metadata.uid != uid:
        raise _another_object(what, uid)


def _another_object(what: str, uid: str) -> Conflict:
    return Conflict(409, "Conflict", f"{what} is another object now: its uid is not {uid!r} any more")
