"""Rules of area capacity."""

from __future__ import annotations
