"""Drivers that are wrong about groups."""

from __future__ import annotations
