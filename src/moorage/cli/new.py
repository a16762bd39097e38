"""`moorage new NAME`: writes a complete driver project, with tests that pass before anything is changed."""

from __future__ import annotations

import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from string import Template
from typing import Final

import click

FILES: Final[Mapping[str, str]] = {
    "pyproject.toml": "pyproject.toml.tmpl",
    "README.md": "README.md.tmpl",
    ".gitignore": "gitignore.tmpl",
    "src/$package/__init__.py": "driver.py.tmpl",
    "src/$package/py.typed": "",
    "tests/test_life.py": "test_life.py.tmpl",
}
_NAME: Final = re.compile(r"[a-z][a-z0-9]*(?:[-_][a-z0-9]+)*", re.ASCII)
_MAX_NAME: Final = 40


def project_values(name: str, driver_name: str | None) -> dict[str, str]:
    """What the templates are filled with. Raises ValueError with a sentence for a name that does not do."""
    from importlib.metadata import version

    from moorage.spec.names import driver_name_problem

    if not _NAME.fullmatch(name) or len(name) > _MAX_NAME:
        raise ValueError(
            f"{name!r} is no name for a project; use at most {_MAX_NAME} lower-case letters, digits and single "
            "hyphens, beginning with a letter, such as acme-nfs"
        )
    project = name.replace("_", "-")
    words = project.split("-")
    camel = "".join(word.capitalize() for word in words)
    full_name = driver_name or f"{project}.csi.example.com"
    if problem := driver_name_problem(full_name):
        raise ValueError(f"driver name {full_name!r} {problem}")
    return {
        "project": project,
        "package": project.replace("-", "_") + ("" if words[-1] == "driver" else "_driver"),
        "title": " ".join(words).capitalize(),
        "class_name": camel if words[-1] == "driver" else f"{camel}Driver",
        "config_name": f"{camel}Config",
        "driver_name": full_name,
        "moorage_version": version("moorage"),
    }


def write_project(directory: Path, values: Mapping[str, str]) -> list[Path]:
    """Write the files of the project; returns their paths. Raises OSError."""
    templates = resources.files("moorage.cli") / "templates" / "driver"
    written = []
    for target, template in FILES.items():
        text = (templates / template).read_text(encoding="utf-8") if template else ""
        path = directory / Template(target).substitute(values)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(Template(text).substitute(values), encoding="utf-8")
        written.append(path)
    return written


@click.command(name="new", context_settings={"help_option_names": ["-h", "--help"]})
@click.argument("name")
@click.option(
    "--directory",
    metavar="DIR",
    type=click.Path(path_type=Path),
    help="Where to write the project.  [default: a directory of its name, here]",
)
@click.option(
    "--driver-name",
    metavar="DOMAIN",
    help="The CSI name of the driver: a domain name that is yours.  [default: NAME.csi.example.com]",
)
def command(name: str, directory: Path | None, driver_name: str | None) -> None:
    """Start a driver project of your own.

    NAME is its name, such as acme-nfs. The project has a working driver, a test that takes a volume through its
    whole life, and the entry point by which `moorage serve NAME` finds it.
    """
    try:
        values = project_values(name, driver_name)
    except ValueError as error:
        raise click.UsageError(str(error)) from None
    target = directory or Path(values["project"])
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise click.ClickException(f"{str(target)!r} exists and is not an empty directory; choose another --directory")
    for path in write_project(target, values):
        click.echo(f"wrote {path}")
    click.echo(f"Next: cd {target} && python -m pytest, then put your storage into {values['package']}.")
