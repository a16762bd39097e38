"""Which rules can notice that a capability is missing: found by watching them against a driver that has it.

A rule that neither asked for a capability nor made a call that a driver without it answers differently does the
same against that driver, so running it again would tell nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Final

from tests.support.lesser import FIELDS, Lesser, kind_of
from tests.support.lesser_answers import allowed, confirmable, refusal
from tests.support.lesser_steps import changing_steps

from moorage.rpc.wire import WireError, decode
from moorage.spec import messages as m
from moorage.spec.capabilities import Declared, gate_open
from moorage.spec.rules import RPCS
from moorage.spec.types import OpenEnum
from moorage.verify import Area, Peer, Result, Rule
from moorage.verify.exchange import Exchange

_SERVICES: Final = "services"


@dataclass(slots=True)
class Trace:
    """What one rule asked of the declarations, as pairs of field and member, and the calls that it made."""

    asked: set[tuple[str, object]] = field(default_factory=set)
    exchanges: tuple[Exchange, ...] = ()


class _Services(frozenset[str]):
    """Notes which services are asked for."""

    watcher: Watcher

    def __contains__(self, service: object) -> bool:
        self.watcher.current.asked.add((_SERVICES, service))
        return super().__contains__(service)


class _Watched(Declared, frozen=True):
    """Notes which capabilities are asked for; whoever takes a whole set asks for all that it could hold."""

    watcher: Any = None

    def has(self, capability: OpenEnum) -> bool:
        name = kind_of(capability)
        watcher: Watcher = object.__getattribute__(self, "watcher")
        watcher.current.asked.add((name, capability))
        return capability in object.__getattribute__(self, name)

    def __getattribute__(self, name: str) -> Any:
        if name in FIELDS:
            watcher: Watcher = object.__getattribute__(self, "watcher")
            watcher.current.asked |= {(name, member) for member in FIELDS[name]}
        return super().__getattribute__(name)


class Watcher:
    """Traces of the rules that a run tells of; its `observe` is for the run."""

    def __init__(self, peer: Peer) -> None:
        self.traces: dict[str, Trace] = {}
        self.current = Trace()
        self.peer = peer
        self._first = 0
        declared = peer.declared
        services = _Services(declared.services)
        services.watcher = self
        fields = {name: getattr(declared, name) for name in FIELDS}
        peer.declared = _Watched(**fields, services=services, watcher=self)

    def observe(self, rule: Rule, result: Result | None) -> None:
        """Told that a rule starts, and how it ended."""
        if result is None:
            self.current, self._first = Trace(), len(self.peer.exchanges)
        else:
            self.current.exchanges = tuple(self.peer.exchanges[self._first :])
            self.traces[rule.id] = self.current


def concerned(rules: Iterable[Rule], traces: dict[str, Trace], whole: Declared, lesser: Lesser) -> list[Rule]:
    """The rules that can notice how this driver differs from the whole one.

    Those about every answer of a run are always among them; those about robustness have no traces, and are all
    among them or none. A second socket is noticed by whoever calls what is served there.
    """
    changed = {(name, member) for name in (*FIELDS, _SERVICES) for member in _differing(name, whole, lesser.whole)}
    rpcs = set(changing_steps(lesser.whole))
    if lesser.node_socket is not None:
        rpcs |= {rpc.name for rpc in RPCS.values() if gate_open(rpc, lesser.node_socket)}

    def notices(rule: Rule) -> bool:
        if rule.area is Area.ROBUSTNESS:
            return lesser.robustness
        return rule.area is Area.WIRE or _notices(traces[rule.id], changed, rpcs, lesser.whole)

    return [rule for rule in rules if notices(rule)]


def _differing(name: str, whole: Declared, declared: Declared) -> frozenset[object]:
    differing: frozenset[object] = getattr(whole, name) ^ getattr(declared, name)
    return differing


def _notices(trace: Trace, changed: set[tuple[str, object]], rpcs: set[str], declared: Declared) -> bool:
    return bool(trace.asked & changed) or any(
        exchange.rpc.name in rpcs or _differs(exchange, declared) for exchange in trace.exchanges
    )


def _differs(exchange: Exchange, declared: Declared) -> bool:
    """Whether a driver with these declarations answers this request otherwise than it was answered."""
    rpc, request = exchange.rpc, exchange.request
    if error := refusal(rpc, request, declared):
        return error.code is not exchange.code
    if isinstance(request, m.ValidateVolumeCapabilitiesRequest) and not confirmable(request, declared):
        return True
    try:
        responses = [decode(rpc.response_proto, body) for body in exchange.answer.bodies]
    except WireError:
        return True
    return any(allowed(response, declared) != response for response in responses)
