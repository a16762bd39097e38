"""Finds driver classes: by entry point in the group `moorage.drivers`, or as `package.module:Class`.

Reading the list of entry points imports no driver. Moorage's own drivers are found without that list, which
takes as long to read as a good part of the whole start. This module knows nothing of what a driver does.
"""

from __future__ import annotations

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Final

from moorage.framework.driver import Driver

GROUP: Final = "moorage.drivers"
OWN: Final[Mapping[str, str]] = {"local": "moorage.drivers.local:LocalDriver"}
"""The entry points of this distribution."""


class DiscoveryError(LookupError):
    """No driver class is to be had by this name; the text says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


def known_drivers() -> dict[str, str]:
    """The installed drivers: name of the entry point to `package.module:Class`, sorted by name."""
    return {name: paths[0] for name, paths in sorted(_installed().items())}


def _installed() -> dict[str, list[str]]:
    from importlib.metadata import entry_points

    found: dict[str, set[str]] = {}
    for point in entry_points(group=GROUP):
        found.setdefault(point.name, set()).add(point.value)
    return {name: sorted(paths) for name, paths in found.items()}


def find_driver(name_or_path: str) -> type[Driver]:
    """The driver class of an entry-point name or of `package.module:Class`.

    A module path is also looked for in the current directory, as with `python -m`.
    Raises DiscoveryError with one sentence when there is none, or its module cannot be imported.
    """
    if ":" in name_or_path:
        if os.getcwd() not in sys.path:
            sys.path.insert(0, os.getcwd())
        return _imported(name_or_path, name_or_path)
    if name_or_path in OWN:
        return _imported(name_or_path, OWN[name_or_path])
    paths = _installed().get(name_or_path, [])
    if not paths:
        raise DiscoveryError(f"no driver is called {name_or_path!r}; {_alternatives(name_or_path)}")
    if len(paths) > 1:
        raise DiscoveryError(
            f"{name_or_path!r} is the name of several drivers; serve one of {' and '.join(paths)} by its path"
        )
    return _imported(name_or_path, paths[0])


def _alternatives(name: str) -> str:
    import difflib

    names = list(known_drivers())
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    listed = ", ".join(names) if names else "none is installed"
    return f"the drivers are {listed}, and package.module:Class names any other class"


def _imported(name: str, path: str) -> type[Driver]:
    module_name, _, attribute = path.partition(":")
    if not module_name or not attribute.isidentifier():
        raise DiscoveryError(f"{path!r} is no path of a driver class; write package.module:Class")
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise DiscoveryError(f"driver {name!r} cannot be imported ({error}); is its package installed?") from error
    except Exception as error:
        raise DiscoveryError(
            f"module {module_name!r} of driver {name!r} fails when it is imported ({type(error).__name__}: {error}); "
            "mend it"
        ) from error
    found = getattr(module, attribute, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if _is_driver(value)]
        raise DiscoveryError(
            f"module {module_name!r} has no {attribute!r}; "
            + (f"its drivers are {', '.join(classes)}" if classes else "it holds no driver class")
        )
    if not _is_driver(found):
        raise DiscoveryError(f"{path!r} is not a subclass of moorage.framework.Driver; name the driver class")
    driver: type[Driver] = found
    return driver


def _is_driver(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Driver) and value is not Driver
