"""Drivers that are wrong about node_data."""

from __future__ import annotations
