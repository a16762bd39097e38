"""Drivers that are wrong about metadata."""

from __future__ import annotations
