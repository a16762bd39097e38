"""Drivers that are wrong about robustness_orders."""

from __future__ import annotations
