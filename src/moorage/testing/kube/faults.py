"""What goes wrong, and when: a plan that the server asks about each request.

    faults.add(Refuse(503, retry_after_s=1), verb="create", times=2)
    faults.add(LoseReply(), verb="patch", resource="persistentvolumes")
    faults.add(DropWatch(after_events=3), resource="persistentvolumeclaims", times=None)

The plan decides only; `moorage.testing.kube.exchange` carries it out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

__all__ = ["Delay", "DropWatch", "Effect", "ExpireWatch", "Fault", "FaultPlan", "LoseReply", "LoseRequest", "Refuse"]

LossKind: TypeAlias = Literal["refused", "reset", "timeout"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refuse:
    """Answer with this status. With `carried_out` the request takes effect all the same.

    `reason` is by default the one that belongs to `code`.
    """

    code: int = field(kw_only=False)
    reason: str = ""
    message: str = "a fault of the test"
    retry_after_s: int | None = None
    carried_out: bool = False


@dataclass(frozen=True, slots=True)
class LoseRequest:
    """The request never arrives: the connection is refused, or nothing comes back until the client's time is up."""

    kind: LossKind = "refused"


@dataclass(frozen=True, slots=True)
class LoseReply:
    """The request takes effect, the answer is lost."""

    kind: LossKind = "reset"


@dataclass(frozen=True, slots=True, kw_only=True)
class Delay:
    """The request takes effect after `before_s`, and the answer comes `after_s` later."""

    before_s: float = 0.0
    after_s: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class DropWatch:
    """The connection of a watch breaks after this many events; `cleanly` ends it as a server does."""

    after_events: int = 0
    cleanly: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpireWatch:
    """A watch ends with 410 after this many events."""

    after_events: int = 0


Effect: TypeAlias = Refuse | LoseRequest | LoseReply | Delay | DropWatch | ExpireWatch


@dataclass(slots=True, kw_only=True)
class Fault:
    """An effect and the requests that it strikes. `hits` counts them; `times` None is for ever."""

    effect: Effect
    verb: str = ""
    resource: str = ""
    namespace: str = ""
    name: str = ""
    user: str = ""
    times: int | None = 1
    skip: int = 0
    seen: int = 0
    hits: int = 0

    def strikes(self, *, verb: str, resource: str, namespace: str, name: str, user: str) -> bool:
        """Whether it strikes this request; counts it."""
        asked = {"verb": verb, "resource": resource, "namespace": namespace, "name": name, "user": user}
        if any(getattr(self, key) not in {"", value} for key, value in asked.items()):
            return False
        if isinstance(self.effect, DropWatch | ExpireWatch) and verb != "watch":
            return False
        self.seen += 1
        if self.seen <= self.skip or (self.times is not None and self.hits >= self.times):
            return False
        self.hits += 1
        return True


class FaultPlan:
    """Faults in the order in which they were added; all that strike a request take effect."""

    def __init__(self) -> None:
        self._faults: list[Fault] = []

    def add(
        self,
        effect: Effect,
        *,
        verb: str = "",
        resource: str = "",
        namespace: str = "",
        name: str = "",
        user: str = "",
        times: int | None = 1,
        skip: int = 0,
    ) -> Fault:
        """Let `effect` strike the next `times` requests that fit, after `skip` of them.

        What is not given fits everything; `resource` is a plural, with a subresource as in `pods/status`.
        """
        fault = Fault(
            effect=effect,
            verb=verb,
            resource=resource,
            namespace=namespace,
            name=name,
            user=user,
            times=times,
            skip=skip,
        )
        self._faults.append(fault)
        return fault

    def remove(self, fault: Fault) -> None:
        """Let a fault strike no more."""
        if fault in self._faults:
            self._faults.remove(fault)

    def clear(self) -> None:
        """Nothing goes wrong any more."""
        self._faults.clear()

    def strike(self, *, verb: str, resource: str, namespace: str, name: str, user: str) -> list[Effect]:
        """The effects on this request."""
        return [
            fault.effect
            for fault in self._faults
            if fault.strikes(verb=verb, resource=resource, namespace=namespace, name=name, user=user)
        ]
