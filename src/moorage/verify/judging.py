"""Answers judged in bulk: what is wrong with each, by kind, and one failure that names the first.

Rules about every answer of a run share this. It makes no calls.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from enum import Enum
from typing import Final

from moorage.rpc.wire import WireError, decode
from moorage.spec.capabilities import Declared
from moorage.spec.errors import NOT_FINAL, Code
from moorage.spec.responses import response_problems
from moorage.verify.exchange import Exchange
from moorage.verify.protowire import WireFormatError, field_numbers
from moorage.verify.rule import Failed

__all__ = [
    "MESSAGE_LIMIT_BYTES",
    "ProblemKind",
    "answer_problems",
    "fail_with_first",
    "has_details",
    "is_unlisted",
    "message_size_problem",
    "refusals",
    "unreadable",
]

MESSAGE_LIMIT_BYTES: Final = 4096
"""Status messages travel in HTTP/2 headers, which many clients limit to 8 KiB, gRPC's own included."""
_CUT_OFF: Final = "metadata size exceeds"
"""What gRPC's core says when a status did not fit into its limit."""
_STATUS_DETAILS_FIELD: Final = 3


class ProblemKind(Enum):
    """Which rule a defect of a response belongs to."""

    REQUIRED = "a required field is not set"
    SIZE = "a string or map is too large"
    OTHER = "anything else"


def fail_with_first(
    exchanges: Sequence[Exchange], problem: Callable[[Exchange], str | None], *, what: str = "answers"
) -> None:
    """Raises Failed, with how many of the `exchanges` have a problem and which one the first of them has."""
    found = [(exchange, text) for exchange in exchanges if (text := problem(exchange))]
    if found:
        first, text = found[0]
        share = f"{len(found)} of {len(exchanges)} {what}" if len(exchanges) > 1 else "the answer"
        raise Failed(f"{share} to the suite's calls: {text}", first)


def refusals(exchanges: Iterable[Exchange]) -> list[Exchange]:
    """The calls that the driver itself refused.

    What gRPC says in the driver's place does not count: deadlines, cancellation, methods that do not exist.
    """
    not_its_own = (Code.OK, Code.DEADLINE_EXCEEDED, Code.CANCELLED, Code.UNIMPLEMENTED)
    return [exchange for exchange in exchanges if exchange.answer.answered and exchange.code not in not_its_own]


def has_details(details: bytes) -> bool:
    """Whether a serialised google.rpc.Status holds details; some servers always send one without any."""
    try:
        return _STATUS_DETAILS_FIELD in field_numbers(details)
    except WireFormatError:
        return bool(details)


def message_size_problem(exchange: Exchange) -> str | None:
    """Why the status message is too long, as a sentence."""
    size = len(exchange.message.encode())
    if exchange.code is Code.RESOURCE_EXHAUSTED and _CUT_OFF in exchange.message:
        return f"{exchange.rpc.name} has a status that does not fit into the headers that a gRPC client accepts"
    if size > MESSAGE_LIMIT_BYTES:
        return f"{exchange.rpc.name} has a status message of {size} bytes"
    return None


def is_unlisted(exchange: Exchange) -> bool:
    """Whether the answer is final and its code stands in no error table for its RPC.

    FAILED_PRECONDITION is fine everywhere: the suite also calls out of order, for which there is no table.
    """
    return exchange.code not in (Code.OK, Code.FAILED_PRECONDITION, *NOT_FINAL, *exchange.rpc.listed_codes)


def unreadable(exchange: Exchange) -> str | None:
    """Why a good answer cannot be read, as a sentence."""
    if exchange.ok and not exchange.rpc.streaming and len(exchange.answer.bodies) != 1:
        return f"{exchange.rpc.name} answered OK with {len(exchange.answer.bodies)} messages"
    for body in exchange.answer.bodies:
        try:
            decode(exchange.rpc.response_proto, body)
        except WireError as error:
            return f"{exchange.rpc.name} answered with bytes that are no such message: {error}"
    return None


def answer_problems(exchange: Exchange, declared: Declared) -> Iterator[tuple[ProblemKind, str]]:
    """What is wrong with the responses in an answer, by kind; nothing for bytes that cannot be read."""
    for body in exchange.answer.bodies:
        try:
            struct = decode(exchange.rpc.response_proto, body)
        except WireError:
            continue
        for problem in response_problems(exchange.rpc, struct, declared):
            yield _kind_of(problem), problem


def _kind_of(problem: str) -> ProblemKind:
    if problem.endswith("is required and is not set"):
        return ProblemKind.REQUIRED
    if problem.endswith("are allowed"):
        return ProblemKind.SIZE
    return ProblemKind.OTHER
