"""Drivers that are wrong about validation_values."""

from __future__ import annotations
