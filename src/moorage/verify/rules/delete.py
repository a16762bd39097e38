"""Rules of area delete."""

from __future__ import annotations
