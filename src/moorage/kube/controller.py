"""Workers that take keys from a queue and bring the world in line with what each key stands for.

`reconcile` is level-based: it looks at the present state and never at what happened. Its failure, of whatever
kind, stays its own: the key comes again after a growing delay, and the other keys go on. Waiting for something
is no failure, and has its own timer: `Result(requeue_after_s=...)`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass
from typing import Any, Final, Generic, Protocol, TypeAlias, TypeVar

from moorage.base.log import bind_context, get_logger
from moorage.kube.errors import Conflict, KubeError
from moorage.kube.informer import Handler, Notice
from moorage.kube.queue import LOW, NORMAL, Queue, QueueClosed

__all__ = ["Controller", "Outcome", "Reconcile", "ReconcileObserver", "Result", "Retry", "Terminal", "feed"]

K = TypeVar("K", bound=Hashable)
Outcome: TypeAlias = str
"""`success`, `requeue_after`, `error` or `terminal`: the label of the metric."""

DRAIN_S: Final = 20.0

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Result:
    """What is to become of a key that was dealt with: nothing, or another look in some seconds."""

    requeue_after_s: float | None = None
    priority: int = NORMAL


class Retry(Exception):
    """Something expected stands in the way; the key comes again as after any failure, without a stack trace."""


class Terminal(Exception):
    """Trying again cannot help; the key rests until its object changes."""


Reconcile: TypeAlias = Callable[[K], Awaitable[Result | None]]


class ReconcileObserver(Protocol):
    """Is told how each reconciliation ended."""

    def reconciled(self, controller: str, outcome: Outcome) -> None: ...


def feed(queue: Queue[str]) -> Handler[Any]:
    """A handler for informers that queues the key of every object; what may be old news waits behind the rest."""

    def handle(notice: Notice[Any]) -> None:
        queue.add(notice.key, priority=LOW if notice.initial or notice.resync else NORMAL)

    return handle


class Controller(Generic[K]):
    """`workers` tasks that call `reconcile` for keys of `queue`; one key is never at two workers.

    When it is cancelled, it takes no more keys and lets the work under way go on for `drain_s` seconds.
    """

    def __init__(
        self,
        name: str,
        queue: Queue[K],
        reconcile: Reconcile[K],
        *,
        workers: int = 1,
        drain_s: float = DRAIN_S,
        observer: ReconcileObserver | None = None,
    ) -> None:
        if workers < 1:
            raise ValueError(f"controller {name} cannot work with {workers} workers; give it 1 or more")
        self.name = name
        self.queue = queue
        self._reconcile = reconcile
        self._workers = workers
        self._drain_s = drain_s
        self._observer = observer

    async def run(self) -> None:
        """Work until cancelled, or until the queue is closed and the work under way is done."""
        async with asyncio.TaskGroup() as group:
            workers = [
                group.create_task(self._work(), name=f"{self.name} worker {number}") for number in range(self._workers)
            ]
            try:
                await asyncio.wait(workers)
            except asyncio.CancelledError:
                self.queue.close()
                _, late = await asyncio.wait(workers, timeout=self._drain_s)
                if late:
                    _log.warning("controller.interrupted", controller=self.name, keys=len(late))
                raise

    async def _work(self) -> None:
        while True:
            try:
                key = await self.queue.get()
            except QueueClosed:
                return
            try:
                with bind_context(controller=self.name, key=str(key)):
                    await self._once(key)
            finally:
                self.queue.done(key)

    async def _once(self, key: K) -> None:
        try:
            result = await self._reconcile(key)
        except Terminal as error:
            self.queue.forget(key)
            _log.error("reconcile.given_up", reason=str(error))
            self._count("terminal")
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is not None and task.cancelling():
                raise
            self._again(key, error)
        except Exception as error:
            self._again(key, error)
        else:
            self.queue.forget(key)
            if result is None or result.requeue_after_s is None:
                self._count("success")
            else:
                self.queue.add_after(key, result.requeue_after_s, priority=result.priority)
                self._count("requeue_after")

    def _again(self, key: K, error: BaseException) -> None:
        delay_s = self.queue.retry(key)
        told = {"reason": str(error) or type(error).__name__, "failures": self.queue.failures(key)}
        if isinstance(error, Conflict):
            _log.debug("reconcile.conflict", retry_in_s=round(delay_s, 3), **told)
        elif isinstance(error, Retry | KubeError):
            _log.warning("reconcile.failed", retry_in_s=round(delay_s, 3), **told)
        else:
            _log.error("reconcile.failed", retry_in_s=round(delay_s, 3), exc_info=error, **told)
        self._count("error")

    def _count(self, outcome: Outcome) -> None:
        if self._observer is not None:
            self._observer.reconciled(self.name, outcome)
