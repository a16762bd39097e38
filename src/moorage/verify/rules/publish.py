"""Rules of area publish."""

from __future__ import annotations
