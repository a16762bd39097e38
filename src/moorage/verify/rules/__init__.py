"""The rules, a module for each area; `ALL_RULES` has them in the order in which they run."""

from __future__ import annotations

from types import ModuleType

from moorage.verify.rule import Area, Rule
from moorage.verify.rules import (
    capacity,
    create,
    create_clone,
    create_place,
    create_size,
    create_source,
    delete,
    expansion,
    expansion_node,
    groups,
    groups_data,
    health,
    listing,
    listing_snapshots,
    metadata,
    modify,
    node,
    node_access,
    node_block,
    node_data,
    node_loss,
    node_paths,
    node_stage,
    node_stats,
    node_table,
    publish,
    robustness,
    robustness_crash,
    robustness_hostile,
    robustness_orders,
    robustness_races,
    robustness_secrets,
    snapshots,
    snapshots_data,
    validation,
    validation_allowed,
    validation_values,
    wire,
    wire_declared,
)

__all__ = ["ALL_RULES"]

_MODULES: tuple[ModuleType, ...] = (
    validation,
    validation_values,
    validation_allowed,
    create,
    create_size,
    create_source,
    create_clone,
    create_place,
    delete,
    publish,
    listing,
    listing_snapshots,
    snapshots,
    snapshots_data,
    groups,
    groups_data,
    metadata,
    capacity,
    expansion,
    expansion_node,
    modify,
    node,
    node_stage,
    node_table,
    node_access,
    node_data,
    node_block,
    node_paths,
    node_loss,
    node_stats,
    health,
    robustness,
    robustness_hostile,
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
