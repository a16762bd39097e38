"""One call made by the suite: what was sent, what came back, and how to repeat it by hand."""

from __future__ import annotations

import json
import shlex
from dataclasses import dataclass
from typing import Any, TypeVar

from msgspec import Struct

from moorage.rpc.raw import Answer
from moorage.rpc.wire import WireError, decode
from moorage.spec.errors import NOT_FINAL, Code
from moorage.spec.redact import redact
from moorage.spec.rules import Rpc
from moorage.verify.rule import Failed

__all__ = ["Exchange"]

ResponseT = TypeVar("ResponseT", bound=Struct)
_SHOWN_CHARACTERS = 400


@dataclass(frozen=True, slots=True, eq=False)
class Exchange:
    """A request of `rpc` to `endpoint` and its answer. Nothing in it was judged yet."""

    rpc: Rpc
    endpoint: str
    request: Struct
    answer: Answer

    @property
    def code(self) -> Code:
        """The status code of the answer."""
        return self.answer.code

    @property
    def message(self) -> str:
        """The text of the status."""
        return self.answer.message

    @property
    def final(self) -> bool:
        """False when the operation may still be running in the driver."""
        return self.code not in NOT_FINAL

    @property
    def ok(self) -> bool:
        """Whether the answer is OK."""
        return self.code is Code.OK

    def response(self, kind: type[ResponseT]) -> ResponseT:
        """The response of a call that must go well. Raises Failed when it did not."""
        if not self.ok:
            raise Failed(f"{self.rpc.name} must succeed here, and answered {self.described()}", self)
        (found,) = self.responses(kind)
        return found

    def responses(self, kind: type[ResponseT]) -> tuple[ResponseT, ...]:
        """Every message of a stream, however it ended. Raises Failed for bytes that are no such message."""
        found = []
        for body in self.answer.bodies:
            try:
                struct = decode(self.rpc.response_proto, body)
            except WireError as error:
                raise Failed(f"the answer to {self.rpc.name} cannot be read: {error}", self) from None
            assert isinstance(struct, kind)
            found.append(struct)
        return tuple(found)

    def refused(self, *codes: Code, why: str) -> None:
        """Demand that the call failed with one of `codes`; `why` completes "because ...". Raises Failed."""
        if self.code not in codes:
            wanted = " or ".join(code.name for code in codes)
            raise Failed(f"{self.rpc.name} must answer {wanted}, because {why}; it answered {self.described()}", self)

    def described(self) -> str:
        """The outcome in a few words: code and message."""
        if not self.answer.answered and self.code is Code.DEADLINE_EXCEEDED:
            return f"nothing within {self.answer.duration_s:.1f} s"
        if not self.message:
            return self.code.name
        text = " ".join(self.message.split())
        return f"{self.code.name} ({text[:_SHOWN_CHARACTERS]})"

    def request_view(self) -> dict[str, Any]:
        """The request for people and reports, secrets stripped."""
        return redact(self.request)

    def answer_view(self) -> dict[str, Any]:
        """The answer for people and reports."""
        shown: dict[str, Any] = {"code": self.code.name, "ms": round(self.answer.duration_s * 1000, 1)}
        if self.message:
            shown["message"] = self.message[:_SHOWN_CHARACTERS]
        messages = []
        for body in self.answer.bodies[:3]:
            try:
                messages.append(redact(decode(self.rpc.response_proto, body)))
            except WireError as error:
                messages.append({"unreadable": str(error)})
        if messages:
            shown["response"] = messages if self.rpc.streaming else messages[0]
        return shown

    def reproduce(self) -> str:
        """A shell command that sends the same request again; secrets are left to a file."""
        view = self.request_view()
        secrets = [view.pop(name, None) for name in self.rpc.secret_fields]
        words = ["moorage", "rpc", "--endpoint", self.endpoint]
        if any(secrets):
            words += ["--secrets-file", "SECRETS.json"]
        words += [self.rpc.service, self.rpc.name]
        if view:
            words += ["--json", json.dumps(view, ensure_ascii=True)]
        return shlex.join(words)
