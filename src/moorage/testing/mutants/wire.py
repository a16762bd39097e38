"""Drivers that are wrong about wire."""

from __future__ import annotations
