"""Rules of area wire_declared."""

from __future__ import annotations
