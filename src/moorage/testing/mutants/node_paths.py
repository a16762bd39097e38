"""Drivers that are wrong about node_paths."""

from __future__ import annotations
