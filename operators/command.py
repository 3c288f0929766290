"""``stillhouse`` commands as child processes: what needs the kfp SDK is loaded there, and gone when it ends."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import Mapping
from typing import Any

from operators.logs import without_secrets
from stillhouse.errors import EXIT_RECIPE, RecipeError, TransientError

TIMEOUT_S = 600.0
_SLOTS = asyncio.Semaphore(2)
"""Children at once: each takes some 150 MB while it lives."""


async def stillhouse(
    *arguments: str, stdin: str = "", env: Mapping[str, str] | None = None, timeout_s: float = TIMEOUT_S
) -> Any:
    """Run ``stillhouse ARGUMENTS -o json`` and return what it printed.

    Raises:
        RecipeError: exit 2, with the command's own words.
        TransientError: exit 75, a time-out, a killed child, or an answer that is no JSON.
    """
    command = [sys.executable, "-m", "stillhouse", *arguments, "-o", "json"]
    async with _SLOTS:
        child = await asyncio.create_subprocess_exec(
            *command,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, **(env or {})},
        )
        try:
            out, err = await asyncio.wait_for(child.communicate(stdin.encode()), timeout_s)
        except asyncio.CancelledError:
            child.kill()
            await child.wait()
            raise
        except TimeoutError:
            child.kill()
            await child.wait()
            raise TransientError(f"stillhouse {arguments[0]} took longer than {timeout_s:.0f} s") from None
    words = _words(err.decode(errors="replace"))
    if child.returncode == 0:
        try:
            return json.loads(out)
        except ValueError as error:
            raise TransientError(f"stillhouse {arguments[0]} printed no JSON ({out[:80]!r})") from error
    if child.returncode == EXIT_RECIPE:
        raise RecipeError(words)
    raise TransientError(f"stillhouse {arguments[0]} ended with {child.returncode}: {words}")


def _words(text: str) -> str:
    """The lines after ``error:``, else the last line; without secrets."""
    lines = [line.removeprefix("error: ") for line in text.splitlines() if line.startswith("error: ")]
    lines = lines or [line for line in text.splitlines() if line.strip()][-1:]
    return without_secrets("; ".join(lines)) or "it said nothing"
