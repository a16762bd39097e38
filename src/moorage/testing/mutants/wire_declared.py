"""Drivers that are wrong about wire_declared."""

from __future__ import annotations
