"""Waiting for a teacher that is still starting, or that went away for a while: a server that scales to zero and back.

Only where ``STILLHOUSE_TEACHER_WAIT_S`` says how long. Knows how servers say that they are not there yet, and nothing
of who starts them.
"""

from __future__ import annotations

import asyncio
import math
import os
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import httpx

from stillhouse.errors import RecipeError, TransientError, printable

WAIT_ENV = "STILLHOUSE_TEACHER_WAIT_S"
AWAY = frozenset({502, 503, 504})
"""What proxies and servers say while there is nobody behind them, or nobody ready."""
POLL_S = 3.0
_TRY_S = 10.0
"""An address of a Service without pods may drop packets instead of refusing them."""


def wait_s(env: Mapping[str, str] = os.environ) -> float:
    """Seconds that a teacher may take to come; 0 where the variable is unset or empty.

    Raises:
        RecipeError: it is no number, or below 0.
    """
    text = env.get(WAIT_ENV, "").strip()
    try:
        value = float(text or 0)
    except ValueError:
        value = -1.0
    if not math.isfinite(value) or value < 0:
        raise RecipeError(f"{WAIT_ENV} = {text!r}: must be a number of seconds, 0 waits for nothing")
    return value


@dataclass
class Patience:
    """How long a teacher may be away, and since when it has been."""

    teacher: str
    endpoints: Sequence[str]
    limit_s: float
    poll_s: float = POLL_S
    say: Callable[[str], object] = field(default=lambda text: print(printable(text), file=sys.stderr, flush=True))
    _away: set[str] = field(default_factory=set, repr=False)
    _since: float = field(default=0.0, repr=False)
    _said: bool = field(default=False, repr=False)

    async def until_served(self, client: httpx.AsyncClient, refuse: Callable[[str, httpx.Response], object]) -> None:
        """Return when one endpoint lists its models; at once where no waiting is asked for.

        Servers that do not know ``/models`` are there as well. ``refuse(endpoint, response)`` is called with a refusal
        of the key (401, 403), and may raise.

        Raises:
            TransientError: nobody came in time.
        """
        if not self.limit_s:
            return
        while True:
            for endpoint in self.endpoints:
                problem = await self._problem(client, endpoint, refuse)
                if not problem:
                    self.back(endpoint)
                    return
                self.bear(endpoint, problem)
            await asyncio.sleep(self.poll_s)

    async def _problem(
        self, client: httpx.AsyncClient, endpoint: str, refuse: Callable[[str, httpx.Response], object]
    ) -> str:
        try:
            response = await client.get(endpoint.rstrip("/") + "/models", timeout=_TRY_S)
        except httpx.RequestError as error:
            return f"{type(error).__name__} at {endpoint}"
        if response.status_code in (401, 403):
            refuse(endpoint, response)
        if response.status_code == 429 or (response.status_code >= 500 and response.status_code != 501):
            return f"HTTP {response.status_code} at {endpoint}"
        return ""

    def bear(self, endpoint: str, problem: str) -> bool:
        """Whether to go on looking although nobody is at ``endpoint``, because nobody is at the others either.

        False where another endpoint is there, and where no waiting is asked for.

        Raises:
            TransientError: it has been so for longer than the limit.
        """
        if not self.limit_s:
            return False
        now, where = time.monotonic(), ", ".join(self.endpoints)
        if not self._away:
            self._since, self._said = now, False
        self._away.add(endpoint)
        if len(self._away) < len(set(self.endpoints)):
            return False
        if now - self._since >= self.limit_s:
            raise TransientError(
                f"teacher {self.teacher} at {where}: not there after waiting {self.limit_s:g} s ({problem}); "
                f"look at its TeacherServer or start it, then run again; {WAIT_ENV} says how long is waited"
            )
        # A single refused connection is not worth a line.
        if not self._said and now - self._since >= self.poll_s:
            self._said = True
            self.say(f"teacher {self.teacher} at {where} is not there ({problem}); waiting up to {self.limit_s:g} s")
        return True

    def back(self, endpoint: str) -> None:
        """Somebody answered at ``endpoint``."""
        if self._said and len(self._away) == len(set(self.endpoints)):
            self.say(f"teacher {self.teacher} is there, after {time.monotonic() - self._since:.0f} s")
        self._away.discard(endpoint)
        if not self._away:
            self._said = False
