"""Drivers that are wrong about publish."""

from __future__ import annotations
