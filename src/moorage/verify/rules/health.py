"""Rules of area health."""

from __future__ import annotations
