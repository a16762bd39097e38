"""Calls that were never made, for tests of what is made of them."""

from __future__ import annotations

from msgspec import Struct

from moorage.rpc.raw import Answer
from moorage.rpc.wire import encode
from moorage.spec.errors import Code
from moorage.spec.rules import BY_REQUEST
from moorage.verify.exchange import Exchange


def exchange(
    request: Struct,
    *responses: Struct,
    code: Code = Code.OK,
    message: str = "",
    answered: bool = True,
    bodies: tuple[bytes, ...] = (),
) -> Exchange:
    """An exchange with this outcome."""
    answer = Answer(
        code=code,
        message=message,
        bodies=bodies or tuple(encode(response) for response in responses),
        details=b"",
        duration_s=0.0125,
        answered=answered,
    )
    return Exchange(rpc=BY_REQUEST[type(request)], endpoint="unix:///run/csi.sock", request=request, answer=answer)
