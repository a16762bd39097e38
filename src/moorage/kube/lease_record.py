"""What a Lease says about who leads, and what to write into it: client-go's record as pure functions.

A lease is never judged by its times, because clocks differ: it has expired when its record has not changed
for the duration that it names, by the clock of the observer. The times are written for people, with
microseconds as client-go does. Edits keep every field of the object that they do not name.

Source: `LeaseSpec` of coordination.k8s.io/v1, and client-go's leader election.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final, Self, cast

import msgspec

__all__ = ["LeaseRecord", "LeaseTimes", "micro_time"]

RELEASED_DURATION_S: Final = 1


def micro_time(moment: datetime) -> str:
    """A moment as Kubernetes' MicroTime: `2026-01-02T03:04:05.000006Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ")


@dataclass(frozen=True, slots=True)
class LeaseTimes:
    """How long a lease lasts, for how long its holder tries to renew it, and the pause between attempts.

    `stop_margin_s` is the time before the end of the lease at which its holder gives up, so that there is time
    to stop the work. The defaults are those of the Kubernetes CSI sidecars. Raises ValueError for times that
    cannot work together.
    """

    lease_s: float = 15.0
    renew_s: float = 10.0
    retry_s: float = 5.0
    stop_margin_s: float = 2.0

    def __post_init__(self) -> None:
        if self.lease_s < 1 or not self.lease_s > self.renew_s:
            raise ValueError(
                f"the lease lasts {self.lease_s:g} s, which must be 1 s or more and longer than the "
                f"{self.renew_s:g} s for which it is renewed"
            )
        if not self.renew_s > 1.2 * self.retry_s or self.retry_s <= 0:
            raise ValueError(
                f"the {self.renew_s:g} s for which a lease is renewed must be more than 1.2 times the "
                f"{self.retry_s:g} s between two attempts"
            )


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """The part of a Lease that election is about; `acquired` and `renewed` stay text as they were."""

    holder: str = ""
    duration_s: int = 0
    acquired: str = ""
    renewed: str = ""
    transitions: int = 0

    @classmethod
    def of(cls, raw: bytes) -> Self:
        """The record in the JSON of a Lease; fields that are missing are empty."""
        spec = (msgspec.json.decode(raw).get("spec") or {}) if raw else {}
        return cls(
            holder=spec.get("holderIdentity") or "",
            duration_s=spec.get("leaseDurationSeconds") or 0,
            acquired=spec.get("acquireTime") or "",
            renewed=spec.get("renewTime") or "",
            transitions=spec.get("leaseTransitions") or 0,
        )

    def taken(self, identity: str, lease_s: float, now: datetime) -> LeaseRecord:
        """The record after `identity` has renewed the lease, or taken it over."""
        text = micro_time(now)
        mine = self.holder == identity
        return LeaseRecord(
            holder=identity,
            duration_s=int(lease_s),
            acquired=self.acquired if mine and self.acquired else text,
            renewed=text,
            transitions=self.transitions if mine else self.transitions + 1,
        )

    def released(self, now: datetime) -> LeaseRecord:
        """The record after its holder has given it up: anybody may take it at once."""
        text = micro_time(now)
        return LeaseRecord("", RELEASED_DURATION_S, text, text, self.transitions)

    def spec(self) -> dict[str, Any]:
        """The record as LeaseSpec."""
        return {
            "holderIdentity": self.holder,
            "leaseDurationSeconds": self.duration_s,
            "acquireTime": self.acquired,
            "renewTime": self.renewed,
            "leaseTransitions": self.transitions,
        }

    def into(self, raw: bytes, labels: Mapping[str, str]) -> bytes:
        """The JSON of a Lease with this record in it, and with `labels` besides its own."""
        tree = cast("dict[str, Any]", msgspec.json.decode(raw))
        tree["spec"] = (tree.get("spec") or {}) | self.spec()
        if labels:
            metadata = tree.setdefault("metadata", {})
            metadata["labels"] = {**(metadata.get("labels") or {}), **labels}
        return msgspec.json.encode(tree)
