"""What a rule is: data about one demand of the specification, and the function that examines it.

    @rule(
        "create.same-name-same-volume",
        section="CreateVolume",
        title="the same request twice gives the same volume",
        sends="CreateVolume twice with equal fields",
        demands="both answers are OK and equal",
        needs=(ControllerCapability.CREATE_DELETE_VOLUME,),
        danger=(Danger.CREATES,),
    )
    async def same_name_same_volume(lab: Lab) -> None: ...

The function returns when the driver behaves, raises `Failed` when it does not and `Skipped` when the question
does not arise. This module knows neither drivers nor reports.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import TYPE_CHECKING, Final

from moorage.spec.rules import Service
from moorage.spec.types import OpenEnum

if TYPE_CHECKING:
    from moorage.verify.exchange import Exchange
    from moorage.verify.lab import Lab

__all__ = ["Area", "Danger", "Facility", "Failed", "Need", "Rule", "Severity", "Skipped", "expect", "rule"]


class Area(StrEnum):
    """The chapters of the suite, in the order in which they run and are shown."""

    VALIDATION = "validation"
    CREATE = "create"
    DELETE = "delete"
    PUBLISH = "publish"
    LISTING = "listing"
    SNAPSHOTS = "snapshots"
    GROUPS = "groups"
    METADATA = "metadata"
    CAPACITY = "capacity"
    EXPANSION = "expansion"
    MODIFY = "modify"
    NODE = "node"
    HEALTH = "health"
    ROBUSTNESS = "robustness"
    WIRE = "wire"


class Severity(Enum):
    """How strongly the specification asks; the names are those of RFC 2119, and advice is ours."""

    MUST = "MUST"
    SHOULD = "SHOULD"
    ADVICE = "advice"


class Danger(StrEnum):
    """What running a rule can do to the system; `--read-only` runs only rules without any.

    MAY_CREATE is for rules that look at `Lab.read_only` themselves, and then keep to calls that change nothing:
    for `--read-only` it is no danger.
    """

    CREATES = "creates volumes"
    MAY_CREATE = "creates a volume, but not with --read-only"
    RESTARTS = "kills and restarts the driver"
    ROOT = "needs root"


class Facility(StrEnum):
    """What a rule needs beyond capabilities: of the driver's storage, or of whoever runs the suite."""

    MOUNT = "volumes that can be mounted"
    BLOCK = "raw block volumes"
    LOCAL = "the node's paths visible to this process (run it on the driver's machine)"
    ROOT = "root"
    RESTART = "--restart-command"
    LOG = "--log-file"
    PROCESS = "the driver's process visible to this one"
    MUTABLE_PARAMETERS = "--mutable-parameters"
    SECRETS = "--secrets"
    OTHER_NODE = "--other-node"


Need = OpenEnum | Service | Facility
"""A capability, a service that must be served, or a facility."""


class Failed(Exception):
    """The driver does not do what the rule demands. `exchange` is the call that shows it, if there is one."""

    def __init__(self, message: str, exchange: Exchange | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.exchange = exchange


class Skipped(Exception):
    """The rule's question does not arise with this driver, or cannot be asked here; the text says why."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def expect(holds: bool, message: str, exchange: Exchange | None = None) -> None:
    """Raises Failed with `message` unless `holds`."""
    if not holds:
        raise Failed(message, exchange)


Examine = Callable[["Lab"], Awaitable[None]]

_ID: Final = re.compile(r"[a-z]+(\.[a-z0-9]+(-[a-z0-9]+)*)")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One demand. `id` is `area.slug` and never changes; `section` names a heading or RPC of the specification.

    `needs` must all hold, else the rule is skipped; of each tuple inside it one must hold. `timeout_s` bounds
    the rule as a whole, and None takes the default of the run.
    """

    id: str
    section: str
    title: str
    sends: str
    demands: str
    examine: Examine
    severity: Severity = Severity.MUST
    needs: tuple[Need | tuple[Need, ...], ...] = ()
    danger: frozenset[Danger] = frozenset()
    timeout_s: float | None = None

    @property
    def area(self) -> Area:
        """The chapter, which is the first half of the id."""
        return Area(self.id.partition(".")[0])


def rule(
    rule_id: str,
    *,
    section: str,
    title: str,
    sends: str,
    demands: str,
    severity: Severity = Severity.MUST,
    needs: tuple[Need | tuple[Need, ...], ...] = (),
    danger: tuple[Danger, ...] = (),
    timeout_s: float | None = None,
) -> Callable[[Examine], Rule]:
    """Make a Rule of the decorated function. Raises ValueError for an id that is not `area.slug`."""
    if not _ID.fullmatch(rule_id):
        raise ValueError(f"rule id {rule_id!r} is not of the form area.some-words")

    def made(examine: Examine) -> Rule:
        found = Rule(
            id=rule_id,
            section=section,
            title=title,
            sends=sends,
            demands=demands,
            examine=examine,
            severity=severity,
            needs=needs,
            danger=frozenset(danger),
            timeout_s=timeout_s,
        )
        found.area  # noqa: B018 (an unknown area is refused where the rule is written)
        return found

    return made
