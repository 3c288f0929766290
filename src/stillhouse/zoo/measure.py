r"""Measures a zoo model on its own problems and writes the numbers into its model card.

The check is exact: the reply must end and its last `\boxed{...}` must be the gold answer's text. It is not the
project's verifier, which has to understand how others write numbers.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerFast

from stillhouse.zoo.tasks import FAMILIES, Family, problems
from stillhouse.zoo.train import ModelSpec

BATCH_SIZE = 256
MAX_NEW_TOKENS = 256
CARD_PROBLEMS = {"chain": 400, "swap": 400, "facts": 200}
TEMPERATURES = (0.0, 0.7)

_BOXED = re.compile(r"\\boxed\{([^{}]*)\}")


@dataclass(frozen=True)
class Score:
    """One family at one temperature (0 is greedy). Accuracy and `ended` are shares; `tokens` is the mean reply."""

    family: str
    temperature: float
    accuracy: float
    tokens: float
    ended: float


@torch.inference_mode()
def reply(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    prompts: Sequence[str],
    temperature: float = 0.0,
    seed: int = 0,
) -> list[list[int]]:
    """One reply to each prompt as token ids, up to and with the end token; sampled unless `temperature` is 0."""
    torch.manual_seed(seed)
    choice = {"do_sample": True, "temperature": temperature, "top_k": 0} if temperature else {"do_sample": False}
    texts = [
        tokenizer.apply_chat_template([{"role": "user", "content": p}], tokenize=False, add_generation_prompt=True)
        for p in prompts
    ]
    replies: list[list[int]] = []
    for start in range(0, len(texts), BATCH_SIZE):
        batch = tokenizer(
            texts[start : start + BATCH_SIZE], return_tensors="pt", padding=True, add_special_tokens=False
        )
        output = model.generate(**batch, max_new_tokens=MAX_NEW_TOKENS, **choice)
        for row in output[:, batch["input_ids"].shape[1] :].tolist():
            end = row.index(tokenizer.eos_token_id) + 1 if tokenizer.eos_token_id in row else len(row)
            replies.append(row[:end])
    return replies


def boxed(text: str) -> str | None:
    r"""What stands in the last `\boxed{...}`, or None."""
    found = _BOXED.findall(text)
    return found[-1] if found else None


def score(
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerFast,
    family: Family,
    count: int,
    temperature: float = 0.0,
    seed: int = 0,
) -> Score:
    """Accuracy, length and proper endings over `count` held-out problems of the `eval` split."""
    asked = problems(family, "eval", count)
    replies = reply(model, tokenizer, [problem["prompt"] for problem in asked], temperature, seed)
    ended = [ids[-1] == tokenizer.eos_token_id for ids in replies]
    right = [
        is_whole and boxed(tokenizer.decode(ids)) == problem["answer"]
        for ids, problem, is_whole in zip(replies, asked, ended, strict=True)
    ]
    tokens = sum(map(len, replies)) / count
    return Score(family, temperature, sum(right) / count, tokens, sum(ended) / count)


def scores(model: PreTrainedModel, tokenizer: PreTrainedTokenizerFast) -> list[Score]:
    """Every family, greedy and sampled: the table of a model card."""
    return [score(model, tokenizer, family, CARD_PROBLEMS[family], t) for family in FAMILIES for t in TEMPERATURES]


def model_card(spec: ModelSpec, measured: Sequence[Score]) -> str:
    """The README.md of a model's folder; its front matter carries the licence."""
    rows = [
        f"| {s.family} | {s.temperature:g} | {100 * s.accuracy:.1f} % | {s.tokens:.1f} | {100 * s.ended:.1f} % |"
        for s in measured
    ]
    size = f"{spec.num_layers} layers, hidden size {spec.hidden_size}, {spec.num_heads} heads"
    schedule = spec.schedule
    return "\n".join(
        [
            "---",
            "license: apache-2.0",
            "library_name: transformers",
            "pipeline_tag: text-generation",
            "tags: [stillhouse-zoo]",
            "---",
            f"# stillhouse zoo: {spec.name}",
            "",
            spec.summary,
            "",
            f"Llama architecture ({size}), character tokenizer, trained from scratch on procedural problems by",
            f"`python -m stillhouse.zoo --only {spec.name}`: {schedule.num_steps} steps of {schedule.batch_size}"
            f" examples, seed {schedule.seed}.",
            "",
            "Held-out problems (`eval` split), measured by the same script:",
            "",
            "| family | temperature | accuracy | tokens a reply | ended |",
            "|---|---|---|---|---|",
            *rows,
            "",
        ]
    )
