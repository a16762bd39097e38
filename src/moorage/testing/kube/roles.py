"""Who may do what: rules as a ClusterRole has them, for tests that hold a controller to its role."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from moorage.testing.kube.call import Call

__all__ = ["Rule", "rules_of"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """What is allowed; `*` stands for all. `namespace` limits it as a Role does."""

    groups: tuple[str, ...]
    resources: tuple[str, ...]
    verbs: tuple[str, ...]
    names: tuple[str, ...] = ()
    namespace: str = ""

    def allows(self, call: Call) -> bool:
        """Whether this rule alone allows the call."""
        resource = call.kind.resource
        plural = f"{resource.plural}/{call.subresource}" if call.subresource else resource.plural
        return (
            _within(resource.group, self.groups)
            and _within(plural, self.resources)
            and _within(call.verb, self.verbs)
            and (not self.names or call.name in self.names)
            and self.namespace in {"", call.namespace}
        )


def rules_of(role: Mapping[str, Any]) -> tuple[Rule, ...]:
    """The rules of a ClusterRole or Role, given as JSON."""
    namespace = (role.get("metadata") or {}).get("namespace", "") if role.get("kind") == "Role" else ""
    return tuple(
        Rule(
            groups=tuple(rule.get("apiGroups") or ()),
            resources=tuple(rule.get("resources") or ()),
            verbs=tuple(rule.get("verbs") or ()),
            names=tuple(rule.get("resourceNames") or ()),
            namespace=namespace,
        )
        for rule in role.get("rules") or ()
    )


def _within(value: str, allowed: Iterable[str]) -> bool:
    return any(entry in {value, "*"} for entry in allowed)
