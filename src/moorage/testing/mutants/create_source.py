"""Drivers that are wrong about create_source."""

from __future__ import annotations
