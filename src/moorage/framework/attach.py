"""ControllerPublishVolume and ControllerUnpublishVolume with their bookkeeping and limits.

Source: contract spec, section 1 (codes) and 2 (access modes); kubernetes: unpublish of anything
that is gone is OK.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

from moorage.base.faults import declare_step
from moorage.base.operations import afterwards
from moorage.framework.core import Core, log
from moorage.framework.publish_context import PREFIX, answered, check_own
from moorage.framework.translate import may_still_run
from moorage.framework.values import Attachment, VolumeRecord
from moorage.spec import messages as m
from moorage.spec.access import NodePublication, second_controller_publish
from moorage.spec.errors import AlreadyExists, InvalidArgument, ResourceExhausted, Unavailable

WISHED = declare_step("framework.attach.wished", "the attachment is recorded before the driver attaches")
ATTACHED = declare_step("framework.attach.attached", "the driver has attached the volume")
RECORDED = declare_step("framework.attach.recorded", "the publish context of the attachment is recorded")
DETACHED = declare_step("framework.attach.detached", "the driver has detached the volume")
FORGOTTEN = declare_step("framework.attach.forgotten", "the record of the attachment is erased")

PENDING = f"{PREFIX}attaching"


class Attachments:
    """Handlers of controller publish and unpublish."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._counting = asyncio.Lock()
        self._running: set[tuple[str, str]] = set()

    async def publish(self, request: m.ControllerPublishVolumeRequest) -> m.ControllerPublishVolumeResponse:
        """ControllerPublishVolume."""
        return await self._core.calls.run(
            "ControllerPublishVolume",
            request,
            lambda: self._publish(request),
        )

    async def _publish(self, request: m.ControllerPublishVolumeRequest) -> m.ControllerPublishVolumeResponse:
        core = self._core
        if request.volume_capability is None:
            raise InvalidArgument("volume_capability is missing")
        record = await core.known_volume(request.volume_id)
        limit = await core.controller("attach_limit", request.node_id) if core.invoke.offers("attach_limit") else None
        core.check_capabilities((request.volume_capability,))
        wish = Attachment(
            volume_id=record.volume_id,
            node_id=request.node_id,
            volume_capability=request.volume_capability,
            readonly=request.readonly,
        )
        existing = await core.store.attachments(volume_id=record.volume_id)
        present = _present(request, existing)
        if present is not None and PENDING not in present.publish_context:
            return _answer(present.publish_context, request)
        is_wished = present is not None
        if limit and not is_wished:
            async with self._counting:
                await self._check_limit(wish, limit)
                await core.settle(WISHED, put=(_pending(wish),))
                self._running.add((wish.node_id, wish.volume_id))
            is_wished = True
        try:
            context = await core.stint("controller_publish", self._attach, record, wish, is_wished)
        finally:
            self._running.discard((wish.node_id, wish.volume_id))
        return _answer(context, request)

    async def _attach(self, record: VolumeRecord, wish: Attachment, is_wished: bool) -> dict[str, str]:
        core = self._core
        if not is_wished:
            await core.settle(WISHED, put=(_pending(wish),))
        try:
            with ATTACHED:
                context = dict(await core.controller("controller_publish", record, wish) or {})
            check_own(context)
            response = m.ControllerPublishVolumeResponse(publish_context=answered(context, readonly=wish.readonly))
            core.check_response("ControllerPublishVolume", response)
        except Exception as cause:
            if isinstance(cause, AlreadyExists):  # the attachment that is there is somebody else's
                await core.settle(FORGOTTEN, drop=(wish,))
            elif not may_still_run(cause):
                await self._undo(wish, cause)
            raise
        done = Attachment(
            volume_id=wish.volume_id,
            node_id=wish.node_id,
            volume_capability=wish.volume_capability,
            readonly=wish.readonly,
            publish_context=context,
        )
        await core.settle(RECORDED, put=(done,))
        afterwards(lambda: log.info("volume.attached", volume=wish.volume_id, node=wish.node_id))
        return context

    async def _undo(self, wish: Attachment, cause: Exception) -> None:
        try:
            await self._core.controller("controller_unpublish", wish)
        except Exception as failure:
            log.warning("volume.detach_failed", volume=wish.volume_id, node=wish.node_id, exc_info=failure)
            raise Unavailable(
                f"publishing volume {wish.volume_id!r} to node {wish.node_id!r} failed and is not undone yet; "
                "repeat the call to try again"
            ) from cause
        await self._core.settle(FORGOTTEN, drop=(wish,))

    async def _check_limit(self, wish: Attachment, limit: int) -> None:
        running = set(self._running)  # a storage system may not list what it is still attaching
        listed = {(each.node_id, each.volume_id) for each in await self._core.store.attachments()}
        used = sum(node_id == wish.node_id for node_id, _ in listed | running | self._running)
        if used >= limit:
            raise ResourceExhausted(f"node {wish.node_id!r} has {used} volumes, its limit; unpublish one of them first")

    async def unpublish(self, request: m.ControllerUnpublishVolumeRequest) -> m.ControllerUnpublishVolumeResponse:
        """ControllerUnpublishVolume; from all nodes when none is named."""
        return await self._core.calls.run(
            "ControllerUnpublishVolume",
            request,
            lambda: self._unpublish(request),
        )

    async def _unpublish(self, request: m.ControllerUnpublishVolumeRequest) -> m.ControllerUnpublishVolumeResponse:
        core = self._core
        for attachment in await core.store.attachments(volume_id=request.volume_id):
            if request.node_id in ("", attachment.node_id):
                await core.stint("controller_unpublish", self._detach, attachment)
        return m.ControllerUnpublishVolumeResponse()

    async def _detach(self, attachment: Attachment) -> None:
        core = self._core
        with DETACHED:
            await core.controller("controller_unpublish", attachment)
        await core.settle(FORGOTTEN, drop=(attachment,))
        afterwards(lambda: log.info("volume.detached", volume=attachment.volume_id, node=attachment.node_id))


def _present(request: m.ControllerPublishVolumeRequest, existing: Sequence[Attachment]) -> Attachment | None:
    """The attachment that satisfies the request already; raises when the ones there leave no room for it."""
    by_node = {each.node_id: each for each in existing}
    published = [NodePublication(each.node_id, each.volume_capability, each.readonly) for each in existing]
    same = second_controller_publish(request, published)
    return by_node[same.node_id] if same is not None else None


def _answer(context: Mapping[str, str], request: m.ControllerPublishVolumeRequest) -> m.ControllerPublishVolumeResponse:
    return m.ControllerPublishVolumeResponse(publish_context=answered(context, readonly=request.readonly))


def _pending(wish: Attachment) -> Attachment:
    return Attachment(
        volume_id=wish.volume_id,
        node_id=wish.node_id,
        volume_capability=wish.volume_capability,
        readonly=wish.readonly,
        publish_context={PENDING: "true"},
    )
