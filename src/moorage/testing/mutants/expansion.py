"""Drivers that are wrong about expansion."""

from __future__ import annotations
