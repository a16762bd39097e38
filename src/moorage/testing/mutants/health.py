"""Drivers that are wrong about health."""

from __future__ import annotations
