"""Rules of area wire."""

from __future__ import annotations
