"""Several real processes that train together over gloo on loopback, forked from this one, which has torch already."""

from __future__ import annotations

import multiprocessing
import os
import socket
import traceback
from collections.abc import Callable
from typing import Any

from stillhouse.training.distributed import Group, joined


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def together(size: int, task: Callable[[Group], Any], limit_s: float = 90.0) -> list[Any]:
    """What ``task`` returned in each of ``size`` processes; where it raised, the exception's text with its type."""
    context = multiprocessing.get_context("fork")
    port, results = free_port(), context.Queue()
    processes = [context.Process(target=_run, args=(rank, size, port, task, results)) for rank in range(size)]
    for process in processes:
        process.start()
    try:
        found = dict(results.get(timeout=limit_s) for _ in processes)
    finally:
        for process in processes:
            process.join(5)
            process.kill()
            process.join()
    return [found[rank] for rank in range(size)]


def _run(rank: int, size: int, port: int, task: Callable[[Group], Any], results: Any) -> None:
    os.environ |= {
        "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(size),
        "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "GLOO_SOCKET_IFNAME": "lo",
    }  # fmt: skip
    try:
        with joined() as group:
            results.put((rank, task(group)))
    except BaseException as error:  # noqa: BLE001 (the parent's test looks at it)
        traceback.print_exc()
        results.put((rank, f"{type(error).__name__}: {error}"))
    results.close()
    results.join_thread()
    os._exit(0)
