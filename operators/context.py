"""What every reconciler is given: the outside world behind small interfaces, and a clock. Tests bring their own."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import kopf

from operators.kfp import KfpApi
from operators.kube import Kube
from operators.metrics import Metrics
from operators.mlflow import MlflowApi
from operators.resources import Body, Resource
from operators.settings import Settings

Command = Callable[..., Awaitable[Any]]
"""``await command("submit", recipe, *options)``: a command as a child process, its JSON as the answer."""


@dataclass
class Context:
    """One per operator process."""

    settings: Settings
    kube: Kube
    kfp: KfpApi
    mlflow: MlflowApi
    command: Command
    metrics: Metrics = field(default_factory=Metrics)
    now: Callable[[], datetime] = lambda: datetime.now(UTC)
    _wakers: dict[tuple[str, str, str], asyncio.Event] = field(default_factory=dict, repr=False)

    def waker(self, kind: str, namespace: str, name: str) -> asyncio.Event:
        """What the loop of that object sleeps on."""
        return self._wakers.setdefault((kind, namespace, name), asyncio.Event())

    def wake(self, resource: Resource, namespace: str, name: str) -> None:
        """Have that object looked at now."""
        self.waker(resource.kind, namespace, name).set()

    def forget(self, kind: str, namespace: str, name: str) -> None:
        self._wakers.pop((kind, namespace, name), None)

    def tell(self, body: Body, reason: str, message: str, *, warning: bool = False) -> None:
        """An event on ``body`` that people read with ``kubectl describe``."""
        kopf.event(
            cast("kopf.Body", dict(body)),
            type="Warning" if warning else "Normal",
            reason=reason,
            message=message[:1000],
        )
