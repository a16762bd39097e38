"""Drivers that are wrong about create_place."""

from __future__ import annotations
