"""Lease election as client-go does it, so that a Go process and this one never lead together.

An `Elector` takes part for one identity in one event loop: `acquire`, then `hold`, and at the end `release`.
Expiry goes by the monotonic clock of whoever looks: for others from the moment when the lease was seen to
change, for ourselves from before our last successful write was sent, which is always earlier. How work is
started and stopped is for `moorage.kube.lease_keeper` to say.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeAlias

import msgspec

from moorage.base.clock import Clock, SystemClock
from moorage.base.log import get_logger
from moorage.kube.api import Api
from moorage.kube.errors import Conflict, KubeError, NotFound
from moorage.kube.lease_record import LeaseRecord, LeaseTimes
from moorage.kube.objects.meta import PartialObject
from moorage.kube.resource import LEASES

__all__ = ["Announce", "Candidate", "Elector", "LeaseObserver"]

_JITTER: Final = 1.2

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Candidate:
    """Who wants which lease: `identity` is the sanitised host name in Kubernetes' CSI sidecars."""

    namespace: str
    name: str
    identity: str
    times: LeaseTimes = field(default_factory=LeaseTimes)
    labels: Mapping[str, str] = field(default_factory=dict)


Announce: TypeAlias = Callable[[Candidate, PartialObject, str], None]
"""Is told for users, with the lease, that the candidate `became leader` or `stopped leading`."""


class LeaseObserver(Protocol):
    """Is told of elections, in the thread that renews the leases."""

    def leading(self, lease: str, leads: bool) -> None: ...
    def slow_path(self, lease: str) -> None: ...


class Elector:
    """One candidate for one lease. `holder` is who was seen last to hold it."""

    def __init__(
        self,
        api: Api,
        candidate: Candidate,
        *,
        clock: Clock | None = None,
        observer: LeaseObserver | None = None,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self.candidate = candidate
        self.holder = ""
        self._api = api
        self._clock = clock or SystemClock()
        self._observer = observer
        self._chance = chance
        self._raw = b""
        self._record = LeaseRecord()
        self._seen_s = float("-inf")
        self._sent_s = float("-inf")
        self._leads = False
        if observer is not None:
            observer.leading(candidate.name, False)

    @property
    def lease(self) -> PartialObject:
        """The Lease as it was seen last."""
        return msgspec.json.decode(self._raw or b"{}", type=PartialObject)

    @property
    def expires_s(self) -> float:
        """When our lease ends, or ended, by the time of the event loop, if it is not renewed."""
        return self._sent_s + self.candidate.times.lease_s

    def unhealthy_for_s(self) -> float:
        """Seconds for which a lease that we believe to hold has been over; 0 when all is well."""
        return max(0.0, _now_s() - self.expires_s) if self._leads else 0.0

    async def acquire(self) -> None:
        """Wait until the lease is ours."""
        times = self.candidate.times
        while True:
            if await self._attempt(times.renew_s):
                break
            await asyncio.sleep(times.retry_s * (1 + _JITTER * self._chance()))
        _log.info("lease.acquired", lease=self.candidate.name, identity=self.candidate.identity)

    async def hold(self) -> None:
        """Renew the lease for as long as that succeeds; returns when it is lost, or nearly so."""
        times = self.candidate.times
        while True:
            await asyncio.sleep(times.retry_s)
            if not await self._renew():
                self._lead(False)
                _log.error("lease.lost", lease=self.candidate.name, holder=self.holder)
                return

    async def release(self, *, timeout_s: float = 5.0) -> bool:
        """Give the lease up so that another may take it at once; whether that was done. Never raises KubeError."""
        self._lead(False)
        if self.holder != self.candidate.identity:
            return False
        deadline_s = _now_s() + timeout_s
        try:
            try:
                await self._write(self._record.released(self._clock.wall_time()), timeout_s)
            except Conflict:
                await self._look(deadline_s - _now_s())
                if self.holder != self.candidate.identity:
                    return False
                await self._write(self._record.released(self._clock.wall_time()), deadline_s - _now_s())
        except KubeError as error:
            _log.warning("lease.not_released", lease=self.candidate.name, reason=str(error))
            return False
        _log.info("lease.released", lease=self.candidate.name)
        return True

    async def _renew(self) -> bool:
        times = self.candidate.times
        deadline_s = min(_now_s() + times.renew_s, self.expires_s - times.stop_margin_s)
        while (left_s := deadline_s - _now_s()) > 0:
            if await self._attempt(left_s):
                return True
            if self.holder != self.candidate.identity:
                return False
            await asyncio.sleep(min(times.retry_s, max(deadline_s - _now_s(), 0)))
        return False

    async def _attempt(self, timeout_s: float) -> bool:
        """One try to take or renew the lease; never raises KubeError."""
        deadline_s = _now_s() + timeout_s
        try:
            async with asyncio.timeout(timeout_s):
                return await self._take(deadline_s)
        except (KubeError, TimeoutError) as error:
            level = _log.warning if self._leads else _log.info
            level("lease.attempt_failed", lease=self.candidate.name, reason=str(error) or "no answer in time")
            return False

    async def _take(self, deadline_s: float) -> bool:
        if self._leads and _now_s() < self.expires_s:
            try:
                await self._write(self._taken(), deadline_s - _now_s())
                return True
            except KubeError as error:
                _log.info("lease.read_again", lease=self.candidate.name, reason=str(error))
                if self._observer is not None:
                    self._observer.slow_path(self.candidate.name)
        try:
            await self._look(deadline_s - _now_s())
        except NotFound:
            await self._create(deadline_s - _now_s())
            return True
        ours = self.holder == self.candidate.identity
        expired = _now_s() >= self._seen_s + self._record.duration_s
        if self.holder and not ours and (self._leads or not expired):
            return False
        await self._write(self._taken(), deadline_s - _now_s())
        return True

    def _taken(self) -> LeaseRecord:
        return self._record.taken(self.candidate.identity, self.candidate.times.lease_s, self._clock.wall_time())

    async def _look(self, timeout_s: float) -> None:
        raw = await self._api.get(
            LEASES, bytes, name=self.candidate.name, namespace=self.candidate.namespace, timeout_s=_some(timeout_s)
        )
        self._keep(raw)

    async def _create(self, timeout_s: float) -> None:
        sent_s = _now_s()
        record = LeaseRecord(transitions=-1).taken(
            self.candidate.identity, self.candidate.times.lease_s, self._clock.wall_time()
        )
        metadata = {"name": self.candidate.name, "namespace": self.candidate.namespace}
        labels = {"labels": dict(self.candidate.labels)} if self.candidate.labels else {}
        raw = await self._api.create(
            LEASES,
            bytes,
            {"metadata": metadata | labels, "spec": record.spec()},
            namespace=self.candidate.namespace,
            timeout_s=_some(timeout_s),
        )
        self._keep(raw)
        self._sent_s = sent_s
        self._lead(True)

    async def _write(self, record: LeaseRecord, timeout_s: float) -> None:
        sent_s = _now_s()
        raw = await self._api.replace_raw(
            LEASES,
            bytes,
            record.into(self._raw, self.candidate.labels),
            name=self.candidate.name,
            namespace=self.candidate.namespace,
            timeout_s=_some(timeout_s),
        )
        self._keep(raw)
        if record.holder:
            self._sent_s = sent_s
            self._lead(True)

    def _keep(self, raw: bytes) -> None:
        record = LeaseRecord.of(raw)
        if record != self._record or not self._raw:
            self._record, self._seen_s = record, _now_s()
        self._raw = raw
        self.holder = record.holder

    def _lead(self, leads: bool) -> None:
        if leads != self._leads and self._observer is not None:
            self._observer.leading(self.candidate.name, leads)
        self._leads = leads


def _some(timeout_s: float) -> float:
    return max(timeout_s, 0.001)


def _now_s() -> float:
    return asyncio.get_running_loop().time()
