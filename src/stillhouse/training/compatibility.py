"""Whether two models can be compared token by token. Knows tokenizers and sizes; trains nothing.

Checked before training starts, because a wrong pairing trains without complaint and teaches nonsense.
"""

from __future__ import annotations

from typing import Any

from stillhouse.errors import RecipeError
from stillhouse.models.loading import LoadedModel
from stillhouse.training.data import Dataset


def check_teacher(student: LoadedModel, teacher: LoadedModel, dataset: Dataset) -> None:
    """Token ids must mean the same to both, and every id in the data must exist in both.

    One vocabulary may go on where the other ends (a chat model's added tokens, padding to a multiple of 64 or 128).

    Raises:
        RecipeError: another tokenizer, or data that one of the two models cannot read.
    """
    mine, theirs = _by_id(student.tokenizer), _by_id(teacher.tokenizer)
    different = [number for number in sorted(mine.keys() & theirs.keys()) if mine[number] != theirs[number]]
    gaps = [number for number in mine.keys() ^ theirs.keys() if number < min(max(mine), max(theirs))]
    if different or gaps:
        first = min(different + gaps)
        raise RecipeError(
            f"train.objective compares token distributions, but teacher {teacher.ref.model} and student "
            f"{student.ref.model} have different tokenizers (id {first} is {theirs.get(first)!r} and "
            f"{mine.get(first)!r}); use objective sft, or a teacher with the student's tokenizer"
        )
    check_ids(teacher, dataset)


def check_ids(loaded: LoadedModel, dataset: Dataset) -> None:
    """Every id has an embedding and every example fits into the model's positions.

    Raises:
        RecipeError: one does not.
    """
    size = loaded.model.get_input_embeddings().weight.shape[0]
    if dataset.largest_id >= size:
        raise RecipeError(
            f"model {loaded.ref.model}: token id {dataset.largest_id} of the training data has no embedding (there are "
            f"{size}); its tokenizer has more tokens than the model, choose a model and tokenizer that belong together"
        )
    context = loaded.context
    if context is not None and dataset.longest > context:
        raise RecipeError(
            f"train.max_length: an example has {dataset.longest} tokens, but {loaded.ref.model} reads at most "
            f"{context}; set it to {context} or less"
        )


def _by_id(tokenizer: Any) -> dict[int, str]:
    return {number: token for token, number in tokenizer.get_vocab().items()}
