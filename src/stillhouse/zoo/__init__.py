"""The zoo: four tiny real language models, the problems they solve, and the script that trained them.

What lives here: `tasks` (procedural problems with gold solutions), `tokenizer` (one for all models), `corpus` (what
each model was trained on), `train` and `measure` (the script's two halves; `python -m stillhouse.zoo`), and
`weights/`, one ordinary Hugging Face folder per model: three teachers `terse`, `wordy`, `careless`, and the student
`base`.

What does not: anything that a pipeline needs to distil. To the stages a zoo model is a folder and a zoo problem is a
row; they would do the same with any other. Importing this package loads no torch.

To add a model: an entry in `SPECS` (train.py), its corpus (corpus.py), `python -m stillhouse.zoo --only NAME`, and a
promise in `tests/unit/zoo/test_weights.py`.
"""

from __future__ import annotations

import difflib
from pathlib import Path

MODELS: tuple[str, ...] = ("terse", "wordy", "careless", "base")
WEIGHTS = Path(__file__).parent / "weights"
SCHEME = "zoo:"


def model_path(name: str) -> Path:
    """The folder of one zoo model. Raises ValueError for a name that is not in `MODELS`."""
    if name not in MODELS:
        close = difflib.get_close_matches(name, MODELS, n=1, cutoff=0.0)[0]
        raise ValueError(f"zoo model {name!r} does not exist; the nearest is {close!r}, all are {', '.join(MODELS)}")
    return WEIGHTS / name


def is_zoo_uri(uri: str) -> bool:
    """Whether a model's address has the form `zoo:<name>`."""
    return uri.startswith(SCHEME)


def resolve(uri: str) -> Path:
    """The folder behind `zoo:<name>`. Raises ValueError for another scheme or an unknown name."""
    if not is_zoo_uri(uri):
        raise ValueError(f"model address {uri!r} does not begin with {SCHEME!r}; write for example 'zoo:terse'")
    return model_path(uri.removeprefix(SCHEME))
