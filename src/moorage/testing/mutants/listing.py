"""Drivers that are wrong about listing."""

from __future__ import annotations
