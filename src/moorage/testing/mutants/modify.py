"""Drivers that are wrong about modify."""

from __future__ import annotations
