"""Drivers that are wrong about node_stats."""

from __future__ import annotations
