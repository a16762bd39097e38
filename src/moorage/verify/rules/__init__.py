"""The rules, a module for each area; `ALL_RULES` has them in the order in which they run."""

from __future__ import annotations

from types import ModuleType

from moorage.verify.rule import Area, Rule
from moorage.verify.rules import (
    capacity,
    create,
    create_place,
    create_source,
    delete,
    expansion,
    groups,
    health,
    listing,
    listing_snapshots,
    metadata,
    modify,
    node,
    node_data,
    node_paths,
    node_stats,
    node_table,
    publish,
    robustness,
    robustness_crash,
    robustness_orders,
    robustness_races,
    robustness_secrets,
    snapshots,
    snapshots_data,
    validation,
    validation_values,
    wire,
    wire_declared,
)

__all__ = ["ALL_RULES"]

_MODULES: tuple[ModuleType, ...] = (
    validation,
    validation_values,
    create,
    create_source,
    create_place,
    delete,
    publish,
    listing,
    listing_snapshots,
    snapshots,
    snapshots_data,
    groups,
    metadata,
    capacity,
    expansion,
    modify,
    node,
    node_table,
    node_data,
    node_paths,
    node_stats,
    health,
    robustness,
    robustness_crash,
    robustness_races,
    robustness_secrets,
    robustness_orders,
    wire,
    wire_declared,
)


def _collected() -> tuple[Rule, ...]:
    order = list(Area)
    found = [value for module in _MODULES for value in vars(module).values() if isinstance(value, Rule)]
    return tuple(sorted(found, key=lambda rule: order.index(rule.area)))


ALL_RULES: tuple[Rule, ...] = _collected()
"""Every rule; within an area they stand in the order of their modules."""
