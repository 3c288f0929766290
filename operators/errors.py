"""The error tree, as kopf and the reconcile loop understand it. The raiser decides; nobody guesses from a message.

RecipeError      the user's           kopf.PermanentError, the loop waits for an edit
TransientError   something outside    kopf.TemporaryError, tried again after 2, 4, 8 ... 300 seconds
anything else    a bug                propagates: logged with its traceback, tried again like a transient error
"""

from __future__ import annotations

import random

import kopf

from stillhouse.errors import RecipeError, StillhouseError, TransientError

FIRST_S = 2.0
LONGEST_S = 300.0


class Throttled(TransientError):
    """The server asked to wait ``retry_after_s`` seconds."""

    def __init__(self, text: str, retry_after_s: float) -> None:
        super().__init__(text)
        self.retry_after_s = retry_after_s


class Conflict(TransientError):
    """Somebody else changed the object in between; looking again decides anew."""


class QuotaExceeded(TransientError):
    """The namespace's quota is used up; what is wanted fits once something else is gone."""


class NameTaken(TransientError):
    """An object of that name is there and belongs to somebody else, or to one of that name that is being deleted."""


def backoff_s(failures: int, error: BaseException | None = None) -> float:
    """Seconds before try number ``failures`` + 1: doubling, capped, 10 % jitter; never sooner than asked."""
    wait = min(LONGEST_S, FIRST_S * 2.0 ** max(0, failures - 1))
    asked = error.retry_after_s if isinstance(error, Throttled) else 0.0
    return max(asked, wait) * random.uniform(1.0, 1.1)


def for_kopf(error: StillhouseError, retry: int = 0) -> kopf.PermanentError | kopf.TemporaryError:
    """``error`` in kopf's words, for its own handlers (deletion)."""
    if isinstance(error, RecipeError):
        return kopf.PermanentError(str(error))
    return kopf.TemporaryError(str(error), delay=backoff_s(retry + 1, error))
