"""Deliberately wrong CSI drivers, at least one for every rule of `moorage verify`: who tests the tests.

    python -m moorage.testing.mutants NAME --listen /run/wrong.sock --backend /run/right.sock

A mutant is a relay in front of a correct driver that flips one behaviour. `MUTANTS` has them by name.
"""

from __future__ import annotations

from moorage.testing.mutants import (
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
from moorage.testing.mutants.mutant import MUTANTS, Call, Mutant, Reply, mutant

__all__ = ["MUTANTS", "Call", "Mutant", "Reply", "mutant"]

_MODULES = (
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
