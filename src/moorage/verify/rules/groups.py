"""Rules of area groups."""

from __future__ import annotations
