"""Drivers that are wrong about delete."""

from __future__ import annotations
