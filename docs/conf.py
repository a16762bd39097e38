"""Sphinx configuration; `make docs` builds with `-n -W`, so that every broken reference fails."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent / "_ext"))

PROJECT = tomllib.loads(Path(__file__).parent.parent.joinpath("pyproject.toml").read_text())["project"]

project = "Moorage"
author = "The Moorage authors"
project_copyright = author
release = version = PROJECT["version"]

extensions = ["myst_parser", "moorage_tables"]
source_suffix = {".md": "markdown"}
exclude_patterns = ["_build", "_ext"]
nitpicky = True
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

html_theme = "furo"
html_title = f"Moorage {release}"
html_show_sphinx = False
