"""Topology: which segments are legal, which places match, and which to choose for a volume.

A topology with fewer segments is the broader place: `{region: R1}` and `{region: R1, zone: Z2}` match, and
`{region: R1, zone: Z2}` and `{region: R1, zone: Z3}` do not. Keys are compared without regard to case.
Which places have room is for the driver to say; nothing here knows.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from moorage.spec.errors import ResourceExhausted
from moorage.spec.types import Topology, TopologyRequirement

_NAME: Final = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,61}[A-Za-z0-9])?")
_PREFIX: Final = re.compile(r"(?=.{1,63}\Z)[a-z0-9](?:[a-z0-9-]*[a-z0-9])?(?:\.[a-z0-9](?:[a-z0-9-]*[a-z0-9])?)*")


def segment_problems(segments: Mapping[str, str]) -> list[str]:
    """What is wrong with the segments of one topology, one clause each. Source: spec, `message Topology`."""
    found = []
    for key, value in segments.items():
        prefix, slash, name = key.rpartition("/")
        if slash and not _PREFIX.fullmatch(prefix):
            found.append(f"key {key!r} has a prefix that is no lower-case domain name of at most 63 characters")
        if not _NAME.fullmatch(name):
            found.append(
                f"key {key!r} has a name that is not 1 to 63 of letters, digits, '-', '_' and '.' "
                "with a letter or digit at both ends"
            )
        if not _NAME.fullmatch(value):
            found.append(
                f"the value {value!r} of key {key!r} is not 1 to 63 of letters, digits, '-', '_' and '.' "
                "with a letter or digit at both ends"
            )
    prefixes = {key.rpartition("/")[0] for key in segments if "/" in key}
    if len(prefixes) > 1:
        found.append(f"the keys have different prefixes ({', '.join(sorted(prefixes))}); use one for all")
    if repeated := repeated_key(segments):
        found.append(f"key {repeated!r} occurs twice in different case")
    return found


def repeated_key(segments: Mapping[str, str]) -> str | None:
    """A key that differs from an earlier one only in case."""
    seen: set[str] = set()
    for key in segments:
        if key.lower() in seen:
            return key
        seen.add(key.lower())
    return None


def requirement_problem(requirement: TopologyRequirement) -> str | None:
    """Why a requirement is no requirement, as a clause that follows the field's name; None when it is one."""
    terms = (*requirement.requisite, *requirement.preferred)
    if not terms:
        return "holds neither requisite nor preferred topologies; set one of them or leave the field out"
    for term in terms:
        if not term.segments:
            return "holds a topology without segments; remove it"
        if repeated := repeated_key(term.segments):
            return f"holds a topology with key {repeated!r} twice in different case; keep one"
    allowed = {_place(term) for term in requirement.requisite}
    for term in requirement.preferred:
        if allowed and _place(term) not in allowed:
            return f"prefers {describe(term)}, which is not one of its requisite topologies; add it there"
    return None


def overlaps(first: Topology, second: Topology) -> bool:
    """Whether one of the two places lies in the other (or they are the same)."""
    one, other = dict(_place(first)), dict(_place(second))
    small, large = (one, other) if len(one) <= len(other) else (other, one)
    return all(large.get(key) == value for key, value in small.items())


def matches(requirement: TopologyRequirement | None, accessible: Sequence[Topology]) -> bool:
    """Whether a volume that is accessible from these places meets the requirement.

    No places means accessible from everywhere. Preferred topologies are wishes and refuse nothing.
    """
    if requirement is None or not requirement.requisite or not accessible:
        return True
    return any(overlaps(term, place) for term in requirement.requisite for place in accessible)


def choose(
    requirement: TopologyRequirement | None, available: Sequence[Topology] | None, *, count: int = 1
) -> tuple[Topology, ...]:
    """Choose `count` places for a volume, in the order that the specification demands.

    `available` are the places where the driver has room, best first; None means that it cannot tell, and
    the terms of the requirement are taken as they are. The order is: preferred topologies as given, then
    the other requisite ones, then, if that is allowed, anywhere. When as many places as requisite
    topologies (or more) are wanted, every requisite one must be served. Empty when there is nothing to
    choose by.

    Raises ResourceExhausted when no allowed choice exists.
    """
    if requirement is None:
        return () if available is None else _enough(list(available[:count]), count, "anywhere")
    terms = _terms(requirement)
    candidates = _unique(available if available is not None else terms)
    bound = bool(requirement.requisite)
    chosen: list[Topology] = []
    for term in terms:
        place = next((p for p in candidates if p not in chosen and overlaps(term, p)), None)
        if place is not None and len(chosen) < count:
            chosen.append(place)
    spare = [place for place in candidates if place not in chosen]
    inside = [place for place in spare if any(overlaps(term, place) for term in terms)]
    outside = [place for place in spare if place not in inside]
    free = not bound or count > len(requirement.requisite)
    chosen += [*inside, *(outside if free else [])][: max(0, count - len(chosen))]
    if bound and count >= len(requirement.requisite):
        for term in requirement.requisite:
            if not any(overlaps(term, place) for place in chosen):
                raise ResourceExhausted(f"no room in {describe(term)}, where the volume must be accessible")
    return _enough(chosen, count, " or ".join(describe(term) for term in terms))


def _enough(chosen: list[Topology], count: int, where: str) -> tuple[Topology, ...]:
    if len(chosen) < count:
        raise ResourceExhausted(
            f"the volume needs {count} of the places {where} and {len(chosen)} can take it; "
            "make room there or allow other topologies"
        )
    return tuple(chosen)


def _terms(requirement: TopologyRequirement) -> list[Topology]:
    """Preferred topologies in order, then the requisite ones that are not among them."""
    return _unique((*requirement.preferred, *requirement.requisite))


def _unique(places: Iterable[Topology]) -> list[Topology]:
    first: dict[tuple[tuple[str, str], ...], Topology] = {}
    for place in places:
        first.setdefault(_place(place), place)
    return list(first.values())


def _place(topology: Topology) -> tuple[tuple[str, str], ...]:
    """The segments in a form that compares and hashes, without regard to the case of keys."""
    return tuple(sorted((key.lower(), value) for key, value in topology.segments.items()))


def describe(topology: Topology) -> str:
    """A topology for people: `{zone: Z1}`."""
    return "{" + ", ".join(f"{key}: {value}" for key, value in sorted(topology.segments.items())) + "}"
