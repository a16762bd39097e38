"""Rules of area create_place."""

from __future__ import annotations
