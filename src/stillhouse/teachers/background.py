"""Runs an asynchronous producer in a thread of its own and iterates over what it produces, in bounded batches.

The caller stays synchronous and may itself live inside an event loop (a notebook). Closing the iterator cancels the
producer and waits for it, so no loop, task or socket outlives the iteration. Knows nothing of teachers.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Coroutine, Iterator
from typing import Generic, TypeVar

T = TypeVar("T")
Put = Callable[[T], None]


class _End:
    """The last thing in the queue; ``error`` is what ended the producer, if anything did."""

    def __init__(self, error: BaseException | None) -> None:
        self.error = error


class Background(Generic[T]):
    """``produce(put)`` runs in its own event loop; ``batches`` yields what it put."""

    def __init__(self, produce: Callable[[Put[T]], Coroutine[None, None, None]]) -> None:
        self._produce = produce
        self._queue: queue.SimpleQueue[T | _End] = queue.SimpleQueue()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._task: asyncio.Task[None] | None = None
        self._ready = threading.Event()

    def batches(self, size: int, wait_s: float) -> Iterator[list[T]]:
        """Lists of at most ``size`` items; a list is not held back longer than ``wait_s`` after its first item.

        What the producer put before it failed is yielded before its exception is raised.
        """
        thread = threading.Thread(target=self._run, name="stillhouse-background", daemon=True)
        thread.start()
        self._ready.wait()
        try:
            while True:
                batch, end = self._collect(size, wait_s)
                if batch:
                    yield batch
                if end is not None:
                    if end.error is not None:
                        raise end.error
                    return
        finally:
            self._cancel()
            thread.join()

    def _collect(self, size: int, wait_s: float) -> tuple[list[T], _End | None]:
        batch: list[T] = []
        deadline = None
        while len(batch) < size:
            try:
                item = self._queue.get(timeout=None if deadline is None else max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                break
            if isinstance(item, _End):
                return batch, item
            batch.append(item)
            deadline = deadline or time.monotonic() + wait_s
        return batch, None

    def _run(self) -> None:
        error: BaseException | None = None
        try:
            asyncio.run(self._main())
        except asyncio.CancelledError:
            pass
        except BaseException as raised:  # noqa: BLE001  handed to the caller's thread, where it is raised again
            error = raised
        finally:
            self._queue.put(_End(error))
            self._ready.set()

    async def _main(self) -> None:
        self._loop, self._task = asyncio.get_running_loop(), asyncio.current_task()
        self._ready.set()
        await self._produce(self._queue.put)

    def _cancel(self) -> None:
        if self._loop is not None and self._task is not None and not self._loop.is_closed():
            try:
                self._loop.call_soon_threadsafe(self._task.cancel)
            except RuntimeError:
                return  # the loop ended between the question and the call
