"""Drivers that are wrong about capacity."""

from __future__ import annotations
