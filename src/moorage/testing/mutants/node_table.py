"""Drivers that are wrong about node_table."""

from __future__ import annotations
