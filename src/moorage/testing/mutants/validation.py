"""Drivers that are wrong about validation."""

from __future__ import annotations
