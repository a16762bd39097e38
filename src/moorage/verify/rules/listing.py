"""Rules of area listing."""

from __future__ import annotations
