"""Drivers that are wrong about robustness_secrets."""

from __future__ import annotations
