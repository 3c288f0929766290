"""How likely a model finds given replies. Knows nothing of who wrote them or what the number is used for."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from stillhouse.errors import RecipeError
from stillhouse.models.chat import encode_example
from stillhouse.models.generate import forward, left_pad
from stillhouse.models.loading import LoadedModel
from stillhouse.models.requests import Message


@torch.inference_mode()
def mean_nll(loaded: LoadedModel, examples: Sequence[tuple[Sequence[Message], str]], batch_size: int) -> list[float]:
    """Mean negative log-likelihood per reply token, end of turn included, in nats; one number for each example.

    An example longer than the model's context is measured on what fits.

    Raises:
        RecipeError: a prompt alone fills the context, so that nothing of its reply can be measured.
    """
    encoded = [encode_example(loaded.tokenizer, messages, reply) for messages, reply in examples]
    fitted = [(ids[: loaded.context], start) for ids, start in encoded]
    for ids, start in fitted:
        if len(ids) <= start:
            raise RecipeError(
                f"model {loaded.ref.model}: a prompt of {start} tokens fills its context of {loaded.context}; "
                "leave such problems out"
            )
    order = sorted(range(len(fitted)), key=lambda index: -len(fitted[index][0]))
    result = [0.0] * len(fitted)
    for begin in range(0, len(order), batch_size):
        chosen = order[begin : begin + batch_size]
        for index, value in zip(chosen, _batch_nll(loaded, [fitted[index] for index in chosen]), strict=True):
            result[index] = value
    return result


def _batch_nll(loaded: LoadedModel, batch: Sequence[tuple[list[int], int]]) -> list[float]:
    """Padded on the left all replies end together, so only the logits of the longest reply are computed."""
    ids_BT, mask_BT = left_pad([ids for ids, _ in batch], loaded.tokenizer.pad_token_id, loaded.device)
    span = max(len(ids) - start for ids, start in batch)
    logits_BSV = forward(loaded.model, ids_BT, mask_BT, keep=span + 1)[:, :-1]
    values = []
    for row, (ids, start) in enumerate(batch):
        count = len(ids) - start
        # Row by row, because float32 log-probabilities of a whole batch over a large vocabulary are gigabytes.
        log_probabilities_NV = logits_BSV[row, -count:].float().log_softmax(dim=-1)
        target_N1 = ids_BT[row, -count:, None]
        values.append(-float(log_probabilities_NV.gather(-1, target_N1).mean()))
    return values
