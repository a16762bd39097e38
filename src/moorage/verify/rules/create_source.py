"""Rules of area create_source."""

from __future__ import annotations
