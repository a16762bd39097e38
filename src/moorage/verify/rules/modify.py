"""Rules of area modify."""

from __future__ import annotations
