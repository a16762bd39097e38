"""Finds driver classes: by entry point in the group `moorage.drivers`, or as `package.module:Class`.

Reading the list of entry points imports no driver. This module knows nothing of what a driver does.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
from importlib.metadata import EntryPoint, entry_points
from typing import Final

from moorage.framework.driver import Driver

GROUP: Final = "moorage.drivers"


class DiscoveryError(LookupError):
    """No driver class is to be had by this name; the text says why and what to do."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message

    def __str__(self) -> str:
        return self.message


def known_drivers() -> dict[str, str]:
    """The installed drivers: name of the entry point to `package.module:Class`, sorted by name."""
    return {point.name: point.value for point in sorted(entry_points(group=GROUP), key=lambda point: point.name)}


def find_driver(name_or_path: str) -> type[Driver]:
    """The driver class of an entry-point name or of `package.module:Class`.

    A module path is also looked for in the current directory, as with `python -m`.
    Raises DiscoveryError with one sentence when there is none, or its module cannot be imported.
    """
    if ":" in name_or_path:
        return _checked(name_or_path, EntryPoint(name=name_or_path, value=name_or_path, group=GROUP))
    found = list(entry_points(group=GROUP, name=name_or_path))
    if not found:
        raise DiscoveryError(f"no driver is called {name_or_path!r}; {_alternatives(name_or_path)}")
    if len({point.value for point in found}) > 1:
        ways = " and ".join(sorted(point.value for point in found))
        raise DiscoveryError(f"{name_or_path!r} is the name of several drivers; serve one of {ways} by its path")
    return _checked(name_or_path, found[0])


def _alternatives(name: str) -> str:
    names = list(known_drivers())
    close = difflib.get_close_matches(name, names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    listed = ", ".join(names) if names else "none is installed"
    return f"the drivers are {listed}, and package.module:Class names any other class"


def _checked(name: str, point: EntryPoint) -> type[Driver]:
    module_name, _, attribute = point.value.partition(":")
    if not module_name or not attribute.isidentifier():
        raise DiscoveryError(f"{point.value!r} is no path of a driver class; write package.module:Class")
    if os.getcwd() not in sys.path and name == point.value:
        sys.path.insert(0, os.getcwd())
    try:
        module = importlib.import_module(module_name)
    except ImportError as error:
        raise DiscoveryError(f"driver {name!r} cannot be imported ({error}); is its package installed?") from error
    found = getattr(module, attribute, None)
    if found is None:
        classes = [key for key, value in vars(module).items() if _is_driver(value)]
        raise DiscoveryError(
            f"module {module_name!r} has no {attribute!r}; "
            + (f"its drivers are {', '.join(classes)}" if classes else "it holds no driver class")
        )
    if not _is_driver(found):
        raise DiscoveryError(f"{point.value!r} is not a subclass of moorage.framework.Driver; name the driver class")
    driver: type[Driver] = found
    return driver


def _is_driver(value: object) -> bool:
    return isinstance(value, type) and issubclass(value, Driver) and value is not Driver
