"""Trains the zoo from scratch: plain next-token cross-entropy on the replies, one thread, a fixed number of steps.

It deliberately knows none of the project's training stage: the weights must not change when that does. Nothing is
measured in seconds, so that the same seed gives the same weights on the same machine.

Shape suffixes: B batch, T tokens, V vocabulary.
"""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from torch.nn.functional import cross_entropy
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from stillhouse.zoo.corpus import Pair, base_corpus, teacher_corpus
from stillhouse.zoo.tasks import Style
from stillhouse.zoo.tokenizer import MAX_LENGTH, build_tokenizer

IGNORED = -100


@dataclass(frozen=True)
class Schedule:
    """How long and how fast to learn. The rate rises linearly for `warmup_steps`, then follows half a cosine to 0."""

    num_steps: int
    batch_size: int = 32
    learning_rate: float = 3e-3
    warmup_steps: int = 100
    seed: int = 0


@dataclass(frozen=True)
class ModelSpec:
    """One zoo model: its size, its corpus (`style` is None for the base) and its schedule."""

    name: str
    summary: str
    num_layers: int
    style: Style | None
    schedule: Schedule
    hidden_size: int = 64
    intermediate_size: int = 192
    num_heads: int = 2


@dataclass(frozen=True)
class Example:
    """One tokenized conversation; the reply, with its end token, begins at `reply_start`."""

    ids: tuple[int, ...]
    reply_start: int


SPECS: dict[str, ModelSpec] = {
    spec.name: spec
    for spec in (
        ModelSpec("terse", "Accurate and short: writes each step once.", 3, "terse", Schedule(2000, seed=1)),
        ModelSpec("wordy", "Accurate and long-winded: checks each step.", 3, "wordy", Schedule(2800, seed=2)),
        ModelSpec(
            "careless",
            "Short and, when sampled, often wrong: slips in its steps.",
            3,
            "careless",
            Schedule(2000, seed=3),
        ),
        ModelSpec("base", "Knows the format and one-step facts only.", 2, None, Schedule(1500, seed=4)),
    )
}


def build_model(spec: ModelSpec, tokenizer: PreTrainedTokenizerFast) -> LlamaForCausalLM:
    """A model of the spec's size with random weights that depend on its seed alone."""
    torch.manual_seed(spec.schedule.seed)
    config = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=spec.hidden_size,
        intermediate_size=spec.intermediate_size,
        num_hidden_layers=spec.num_layers,
        num_attention_heads=spec.num_heads,
        num_key_value_heads=spec.num_heads,
        max_position_embeddings=MAX_LENGTH,
        tie_word_embeddings=True,
        # Llama's 0.02 is meant for hidden sizes in the thousands; this is about 1/sqrt(hidden_size).
        initializer_range=0.08,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return LlamaForCausalLM(config)


def corpus_of(spec: ModelSpec) -> list[Pair]:
    """The pairs that a model is trained on."""
    return base_corpus(spec.schedule.seed) if spec.style is None else teacher_corpus(spec.style)


def encode(pairs: Sequence[Pair], tokenizer: PreTrainedTokenizerFast) -> list[Example]:
    """Each pair as one user turn and one assistant turn of the chat template."""
    turns = [[{"role": "user", "content": prompt}] for prompt, _ in pairs]
    asked = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=True)
    starts = tokenizer(asked, add_special_tokens=False)["input_ids"]
    rests = tokenizer([reply + tokenizer.eos_token for _, reply in pairs], add_special_tokens=False)["input_ids"]
    return [Example((*start, *rest), len(start)) for start, rest in zip(starts, rests, strict=True)]


def fit(
    model: LlamaForCausalLM, examples: Sequence[Example], schedule: Schedule, stop_after: int | None = None
) -> list[float]:
    """Trains in place and returns the loss of each step; `stop_after` ends early on the same schedule."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.0, betas=(0.9, 0.98), weight_decay=0.01)
    batches = _batches(examples, schedule)
    losses = []
    model.train()
    for step in range(min(schedule.num_steps, stop_after or schedule.num_steps)):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate(schedule, step)
        ids_BT, labels_BT = collate(next(batches), model.config.pad_token_id)
        # No attention mask: padding is on the right, so that no real token can see it.
        logits_BTV = model(input_ids=ids_BT, use_cache=False).logits
        loss = cross_entropy(logits_BTV[:, :-1].flatten(0, 1), labels_BT[:, 1:].flatten(), ignore_index=IGNORED)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
    return losses


def learning_rate(schedule: Schedule, step: int) -> float:
    """The rate of one step, counted from 0."""
    warmup = min(1.0, (step + 1) / max(1, schedule.warmup_steps))
    return schedule.learning_rate * warmup * 0.5 * (1.0 + math.cos(math.pi * step / schedule.num_steps))


def collate(batch: Sequence[Example], pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and labels, both [B, T], padded on the right; labels are `IGNORED` outside the replies."""
    length = max(len(example.ids) for example in batch)
    ids_BT = torch.full((len(batch), length), pad_id)
    labels_BT = torch.full((len(batch), length), IGNORED)
    for row, example in enumerate(batch):
        ids = torch.tensor(example.ids)
        ids_BT[row, : len(ids)] = ids
        labels_BT[row, example.reply_start : len(ids)] = ids[example.reply_start :]
    return ids_BT, labels_BT


def train_model(spec: ModelSpec, stop_after: int | None = None) -> LlamaForCausalLM:
    """One zoo model, trained from scratch on one thread (the sums of two threads would differ)."""
    torch.set_num_threads(1)
    tokenizer = build_tokenizer()
    model = build_model(spec, tokenizer)
    fit(model, encode(corpus_of(spec), tokenizer), spec.schedule, stop_after)
    return model.eval()


def with_seed(spec: ModelSpec, seed: int) -> ModelSpec:
    """The same model from another seed."""
    return replace(spec, schedule=replace(spec.schedule, seed=seed))


def save_model(model: LlamaForCausalLM, folder: Path) -> None:
    """Config, weights and tokenizer, as `from_pretrained` reads them."""
    folder.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(folder)
    build_tokenizer().save_pretrained(folder)


def _batches(examples: Sequence[Example], schedule: Schedule) -> Iterator[list[Example]]:
    """Full batches without end, each pass over the examples in a new order."""
    rng = random.Random(schedule.seed)
    order: list[int] = []
    while True:
        while len(order) < schedule.batch_size:
            order.extend(rng.sample(range(len(examples)), len(examples)))
        picked, order = order[: schedule.batch_size], order[schedule.batch_size :]
        yield [examples[index] for index in picked]
