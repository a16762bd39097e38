"""Carrying out the RPC rules of a fault plan (`moorage.base.faults`): what shall go wrong, goes wrong."""

from __future__ import annotations

import asyncio
import os
import signal

from moorage.base import faults
from moorage.spec.errors import Code, Internal, error_for


async def inject(plan: faults.FaultPlan, rpc_name: str) -> bool:
    """Do what the plan says for this call; True when the reply of a successful call is to be dropped.

    `status` raises the error of that code in place of the handler, `hang` waits until the caller gives up,
    `kill` ends the process, `delay` waits and goes on.
    """
    action = plan.rpc_rule(rpc_name)
    if action is None:
        return False
    if action.kind == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    elif action.kind == "delay":
        await asyncio.sleep(action.delay_s)
    elif action.kind == "hang":
        await asyncio.Event().wait()
    elif action.kind == "status":
        name = action.argument.upper()
        if name not in Code.__members__ or name == "OK":
            raise Internal(f"the fault plan asks {rpc_name} for status {name}, which is no error of gRPC")
        raise error_for(Code[name], f"{rpc_name} was made to fail by the fault plan")
    return action.kind == "drop-reply"
