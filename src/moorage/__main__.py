"""`python -m moorage` is the `moorage` command."""

from __future__ import annotations

from moorage.cli.app import main

if __name__ == "__main__":
    main()
