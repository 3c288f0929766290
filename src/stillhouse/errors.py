"""The error tree, and what happens to each branch.

    StillhouseError
    ├── RecipeError       the user's input is wrong        exit 2    never retried
    ├── TransientError    teacher, network, store, disk    exit 75   retried with backoff
    └── BudgetExhausted   a cap of the recipe was reached  exit 0    partial output is valid

Anything else is a bug: it propagates with its traceback (exit 1). The raiser decides the branch; nobody
downstream guesses from a message. This module knows nothing of stages, KFP or Kubernetes.

A message answers three questions in one line: what, where, what to do.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

EXIT_OK = 0
EXIT_BUG = 1
EXIT_RECIPE = 2
EXIT_TRANSIENT = 75


class StillhouseError(Exception):
    """Base of every error that the user can act on."""

    exit_code: int = EXIT_BUG


class RecipeError(StillhouseError):
    """The recipe, its data or its models are wrong; running again changes nothing."""

    exit_code = EXIT_RECIPE


class TransientError(StillhouseError):
    """Something outside failed (teacher, network, store, disk); running again continues where this stopped."""

    exit_code = EXIT_TRANSIENT


class BudgetExhausted(StillhouseError):
    """A cap of the recipe was reached; what was produced so far is complete and valid."""

    exit_code = EXIT_OK


def nearest(name: str, known: Iterable[str]) -> str:
    """Words for "what would be right" after an unknown ``name``: the nearest known one, else all of them.

    >>> nearest("lerning_rate", ["learning_rate", "seed"])
    'did you mean learning_rate?'
    """
    names = sorted(set(known))
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"did you mean {close[0]}?"
    return "known: " + ", ".join(names) if names else "nothing is known here"


def printable(text: str) -> str:
    """``text`` for a terminal or a log, where what came from outside must not steer anything: no control characters.

    >>> printable("red \x1b[31m")
    'red ?[31m'
    """
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "?" for letter in text)
