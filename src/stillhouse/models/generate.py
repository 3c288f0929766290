"""Batched decoding: length-sorted fixed batches, key-value cache, one random stream per request.

Why not ``model.generate``: it keeps finished rows in the batch until the longest has ended, knows one random stream
per batch, and sorts the vocabulary at every step. Measured on one core with a 64-wide, three-layer Llama: 1.1 to
1.3 times its tokens a second when all replies are equally long, 1.4 to 1.5 times when about half of each batch has
ended early (8,200 against 12,300 at batch 256). Cache, masks and model stay transformers' own.
Shape letters: B rows, T prompt length.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from transformers import DynamicCache

from stillhouse.models.chat import decode_reply, encode_prompt, prompt_text, stop_ids
from stillhouse.models.loading import LoadedModel
from stillhouse.models.requests import ChatRequest, Reply, failed
from stillhouse.models.sampling import Uniforms, choose
from stillhouse.recipe.teacher import Sampling

_DROP_SHARE = 8
"""Finished rows leave the batch once they are at least one in so many: each time copies the cache."""


@dataclass(slots=True)
class _Row:
    """A request on its way: ``limit`` is the number of tokens it may still get in this model's context."""

    request: ChatRequest
    prompt: str
    ids: list[int]
    limit: int
    tokens: list[int] = field(default_factory=list)
    stopped: bool = False

    @property
    def done(self) -> bool:
        return self.stopped or len(self.tokens) >= self.limit


def generate(
    loaded: LoadedModel, requests: Sequence[ChatRequest], sampling: Sampling, batch_size: int
) -> Iterator[list[Reply]]:
    """Replies to ``requests``, a finished batch at a time, longest prompts first (memory trouble shows at once).

    The composition of the batches depends on the set of requests only, not on their order. It stays the same when
    whole batches are left out, which is how a resumed run gives the replies of an uninterrupted one. A prompt that
    leaves no room in the model's context gets an error reply.
    """
    rows = _rows(loaded, requests, sampling)
    rows.sort(key=lambda row: (-len(row.ids), row.request.key))
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        _decode(loaded, [row for row in batch if row.limit > 0], sampling)
        yield [_reply(loaded, row) for row in batch]


def _rows(loaded: LoadedModel, requests: Sequence[ChatRequest], sampling: Sampling) -> list[_Row]:
    known: dict[tuple[tuple[str, str], ...], tuple[str, list[int]]] = {}
    rows = []
    for request in requests:
        turns = tuple((message["role"], message["content"]) for message in request.messages)
        if turns not in known:
            text = prompt_text(loaded.tokenizer, request.messages)
            known[turns] = (text, encode_prompt(loaded.tokenizer, request.messages))
        text, ids = known[turns]
        room = sampling.max_tokens if loaded.context is None else loaded.context - len(ids)
        rows.append(_Row(request, text, ids, min(sampling.max_tokens, room)))
    return rows


def _reply(loaded: LoadedModel, row: _Row) -> Reply:
    if row.limit <= 0:
        reason = f"prompt of {len(row.ids)} tokens leaves no room in a context of {loaded.context}"
        return failed(row.request.key, reason, prompt_tokens=len(row.ids))
    return Reply(
        key=row.request.key,
        text=decode_reply(loaded.tokenizer, row.tokens[:-1] if row.stopped else row.tokens, row.prompt),
        finish_reason="stop" if row.stopped else "length",
        prompt_tokens=len(row.ids),
        completion_tokens=len(row.tokens),
    )


@torch.inference_mode()
def _decode(loaded: LoadedModel, rows: list[_Row], sampling: Sampling) -> None:
    """Fill in the tokens of ``rows`` (end of turn included in the count, as servers count it)."""
    if not rows:
        return
    model, device = loaded.model, loaded.device
    stops = stop_ids(loaded.tokenizer, model.generation_config)
    uniforms = Uniforms([row.request.seed for row in rows]) if sampling.temperature else None
    ids_BT, mask_BT = left_pad([row.ids for row in rows], loaded.tokenizer.pad_token_id, device)
    cache = DynamicCache(config=model.config)
    active = list(range(len(rows)))
    for step in range(max(row.limit for row in rows)):
        logits_BV = forward(model, ids_BT, mask_BT, cache)
        draws_B = uniforms.step(step, active) if uniforms else None
        chosen_B = choose(logits_BV, sampling, draws_B)
        for index, token in zip(active, chosen_B.tolist(), strict=True):
            row = rows[index]
            if not row.done:
                row.tokens.append(token)
                row.stopped = token in stops
        keep = [place for place, index in enumerate(active) if not rows[index].done]
        if not keep:
            return
        if (len(active) - len(keep)) * _DROP_SHARE >= len(active):
            kept_B = torch.tensor(keep, device=device)
            cache.reorder_cache(kept_B)
            chosen_B, mask_BT = chosen_B[kept_B], mask_BT[kept_B]
            active = [active[place] for place in keep]
        ids_BT = chosen_B[:, None]
        mask_BT = torch.cat([mask_BT, mask_BT.new_ones(len(active), 1)], dim=1)


def forward(model: Any, ids_BT: torch.Tensor, mask_BT: torch.Tensor, cache: Any = None, keep: int = 1) -> torch.Tensor:
    """Logits of the last ``keep`` positions of left-padded ``ids_BT``: [B, V] for one, else [B, keep, V].

    ``mask_BT`` covers what is in ``cache`` too. Positions count real tokens only.
    """
    accepted = inspect.signature(model.forward).parameters
    options: dict[str, Any] = {"past_key_values": cache, "use_cache": cache is not None}
    if "position_ids" in accepted:
        positions_BT = (mask_BT.cumsum(dim=-1) - 1).clamp_(min=0)
        options["position_ids"] = positions_BT[:, -ids_BT.shape[1] :]
    if "logits_to_keep" in accepted:
        options["logits_to_keep"] = keep
    logits_BTV: torch.Tensor = model(input_ids=ids_BT, attention_mask=mask_BT, **options).logits
    return logits_BTV[:, -1] if keep == 1 else logits_BTV[:, -keep:]


def left_pad(rows: Sequence[Sequence[int]], pad_id: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """``rows`` as one [B, T] tensor, padded on the left so that all end together, and the mask of real tokens."""
    width = max(len(row) for row in rows)
    ids = [[pad_id] * (width - len(row)) + list(row) for row in rows]
    mask = [[0] * (width - len(row)) + [1] * len(row) for row in rows]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)
