"""The second NodePublishVolume of a volume on one node: the specification's table, row by row.

T is the target path and P everything else but secrets: same T and same P, same T and other P, other T.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from moorage.spec.access import is_reader_only
from moorage.spec.errors import Code
from moorage.spec.types import AccessMode, NodeCapability
from moorage.verify.content import Pattern
from moorage.verify.exchange import Exchange
from moorage.verify.lab import Lab
from moorage.verify.needs import USE
from moorage.verify.rule import Danger, Failed, Severity, Skipped, rule
from moorage.verify.use import Use

_ONE_TARGET = (AccessMode.SINGLE_NODE_WRITER, AccessMode.SINGLE_NODE_READER_ONLY)
_MULTI_NODE = (
    AccessMode.MULTI_NODE_READER_ONLY,
    AccessMode.MULTI_NODE_SINGLE_WRITER,
    AccessMode.MULTI_NODE_MULTI_WRITER,
)
_BY_WRITERS = (AccessMode.SINGLE_NODE_SINGLE_WRITER, AccessMode.SINGLE_NODE_MULTI_WRITER)
_EVERY_MODE = (*_ONE_TARGET, *_MULTI_NODE, *_BY_WRITERS)


def _usable(lab: Lab, mode: AccessMode) -> bool:
    """Whether the node knows the mode: two of them need a capability, whatever the controller makes volumes for."""
    return mode not in _BY_WRITERS or lab.has(NodeCapability.SINGLE_NODE_MULTI_WRITER)


async def _each_mode(lab: Lab, modes: Sequence[AccessMode], check: Callable[[Use], Awaitable[None]]) -> None:
    """Check a volume in use for each of these modes that the driver has. Raises Skipped when it has none."""
    found = 0
    for mode in modes:
        if not _usable(lab, mode):
            continue
        capability = lab.capability(mode)
        if not await lab.supports(capability):
            continue
        use = await lab.placed(await lab.create(volume_capabilities=(capability,)), capability)
        exchange = await use.attempt()
        if exchange.ok:
            found += 1
            await check(use)
        elif not is_reader_only(mode):  # an empty volume can be of no use to readers
            raise Failed(f"a volume for {mode.name} cannot be used: {exchange.described()}", exchange)
        await use.end()
    if not found:
        raise Skipped(f"the driver makes no volumes for {' or '.join(mode.name for mode in modes)}")


def _mode(use: Use) -> str:
    return use.capability.access_mode.name


def _expect_ok(exchange: Exchange, use: Use, what: str) -> None:
    if not exchange.ok:
        raise Failed(f"with {_mode(use)}, {what} must be OK; the answer was {exchange.described()}", exchange)


@rule(
    "node.same-target-same-arguments",
    section="NodePublishVolume",
    title="in every access mode, the same call again is OK",
    sends="NodePublishVolume twice with equal fields, in every access mode that the driver has",
    demands="OK (table: same T, same P)",
    needs=USE,
    danger=(Danger.CREATES,),
)
async def same_target_same_arguments(lab: Lab) -> None:
    async def check(use: Use) -> None:
        _expect_ok(await lab.settle(use.publish_request(use.target)), use, "the same NodePublishVolume again")

    await _each_mode(lab, _EVERY_MODE, check)


@rule(
    "node.same-target-other-arguments",
    section="NodePublishVolume",
    title="a target path is not published again in another way",
    sends="NodePublishVolume, then again with readonly=true, in every access mode that the driver has",
    demands="ALREADY_EXISTS (table: same T, other P)",
    severity=Severity.SHOULD,
    needs=USE,
    danger=(Danger.CREATES,),
)
async def same_target_other_arguments(lab: Lab) -> None:
    async def check(use: Use) -> None:
        exchange = await lab.settle(use.publish_request(use.target, readonly=True))
        exchange.refused(Code.ALREADY_EXISTS, why=f"the target is published with {_mode(use)} and without readonly")

    await _each_mode(lab, _EVERY_MODE, check)


async def _second_target_refused(lab: Lab, modes: Sequence[AccessMode]) -> None:
    async def check(use: Use) -> None:
        for readonly in (False, True):
            exchange = await lab.settle(use.publish_request(lab.path(), readonly=readonly))
            exchange.refused(
                Code.FAILED_PRECONDITION, why=f"the volume is published at another path and {_mode(use)} allows one"
            )

    await _each_mode(lab, modes, check)


async def _second_target_works(lab: Lab, modes: Sequence[AccessMode]) -> None:
    async def check(use: Use) -> None:
        for readonly in (False, True):
            target = lab.path()
            exchange = await lab.settle(use.publish_request(target, readonly=readonly))
            _expect_ok(exchange, use, f"a second target with readonly={str(readonly).lower()}")
            await use.unpublish(target)

    await _each_mode(lab, modes, check)


@rule(
    "node.second-target-single-node",
    section="NodePublishVolume",
    title="a volume with a single-node mode is published at one path only",
    sends="NodePublishVolume at two paths, with SINGLE_NODE_WRITER and SINGLE_NODE_READER_ONLY",
    demands="FAILED_PRECONDITION for the second (table: other T)",
    severity=Severity.SHOULD,
    needs=USE,
    danger=(Danger.CREATES,),
)
async def second_target_single_node(lab: Lab) -> None:
    await _second_target_refused(lab, _ONE_TARGET)


@rule(
    "node.second-target-single-writer",
    section="NodePublishVolume",
    title="a volume for a single writer is published at one path only",
    sends="NodePublishVolume at two paths, with SINGLE_NODE_SINGLE_WRITER",
    demands="FAILED_PRECONDITION for the second (table: other T)",
    severity=Severity.SHOULD,
    needs=(*USE, NodeCapability.SINGLE_NODE_MULTI_WRITER),
    danger=(Danger.CREATES,),
)
async def second_target_single_writer(lab: Lab) -> None:
    await _second_target_refused(lab, (AccessMode.SINGLE_NODE_SINGLE_WRITER,))


@rule(
    "node.second-target-multi-writer",
    section="NodePublishVolume",
    title="a volume for several writers is published at several paths",
    sends="NodePublishVolume at three paths, one of them with readonly=true, with SINGLE_NODE_MULTI_WRITER",
    demands="OK (table: other T)",
    severity=Severity.SHOULD,
    needs=(*USE, NodeCapability.SINGLE_NODE_MULTI_WRITER),
    danger=(Danger.CREATES,),
)
async def second_target_multi_writer(lab: Lab) -> None:
    await _second_target_works(lab, (AccessMode.SINGLE_NODE_MULTI_WRITER,))


@rule(
    "node.second-target-multi-node",
    section="NodePublishVolume",
    title="a volume with a multi-node mode is published at several paths",
    sends="NodePublishVolume at three paths, one of them with readonly=true, in every MULTI_NODE mode",
    demands="OK (table: other T)",
    severity=Severity.SHOULD,
    needs=USE,
    danger=(Danger.CREATES,),
)
async def second_target_multi_node(lab: Lab) -> None:
    await _second_target_works(lab, _MULTI_NODE)


async def _two_targets(lab: Lab) -> tuple[Use, str, str]:
    """A volume in use at two paths. Raises Skipped when the driver offers no mode for that."""
    for mode in (AccessMode.SINGLE_NODE_MULTI_WRITER, AccessMode.MULTI_NODE_MULTI_WRITER):
        capability = lab.capability(mode)
        if not (_usable(lab, mode) and await lab.supports(capability)):
            continue
        use = await lab.use(await lab.create(volume_capabilities=(capability,)), capability)
        first, second = use.target, lab.path()
        if (await lab.settle(use.publish_request(second))).ok:
            return use, first, second
        await use.end()
    raise Skipped("the driver publishes no volume for writers at two paths of one node")


@rule(
    "node.two-targets-coherent",
    section="NodePublishVolume",
    title="two target paths of one volume show the same data",
    sends="one volume at two paths; a write at each",
    demands="each shows at once what was written at the other",
    needs=USE,
    danger=(Danger.CREATES,),
)
async def two_targets_coherent(lab: Lab) -> None:
    use, first, second = await _two_targets(lab)
    for written, read, offset in ((first, second, 0), (second, first, 8192)):
        pattern = Pattern(seed=lab.random.getrandbits(32), size_bytes=4096, offset=offset)
        await use.write(pattern, target=written)
        await use.expect_pattern(pattern, "at the other target path of the volume", target=read)
    for target in (first, second):
        await use.unpublish(target)


@rule(
    "node.unpublish-one-of-two",
    section="NodeUnpublishVolume",
    title="a volume stays published at its other path",
    sends="one volume at two paths; NodeUnpublishVolume of the first; a write and a read at the second",
    demands="the second path works as before",
    needs=USE,
    danger=(Danger.CREATES,),
)
async def unpublish_one_of_two(lab: Lab) -> None:
    use, first, second = await _two_targets(lab)
    before, after = (Pattern(seed=lab.random.getrandbits(32), size_bytes=4096, offset=at) for at in (0, 8192))
    await use.write(before, target=first)
    await use.unpublish(first)
    await use.expect_pattern(before, "at the second path after the first was unpublished", target=second)
    await use.write(after, target=second)
    await use.expect_pattern(after, "at the second path after the first was unpublished", target=second)
    await use.unpublish(second)
