"""How the student is made."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stillhouse.recipe.base import Card, Config, Custom

_PROOF = "tests/unit/training/test_objectives.py"


class Sft(Config):
    """Cross-entropy on the teacher's words: sequence-level knowledge distillation."""

    card: ClassVar[Card] = Card(
        "Cross-entropy on the teacher's replies",
        tags=("objective", "sequence-level"),
        access="black",
        paper="Kim and Rush 2016, Sequence-Level Knowledge Distillation, arXiv:1606.07947",
        proof=_PROOF,
    )
    type: Literal["sft"] = "sft"


class Kl(Config):
    """Divergence between the teacher's and the student's token distributions."""

    card: ClassVar[Card] = Card(
        "Forward KL, reverse KL or generalized JSD with a local teacher",
        tags=("objective", "token-level", "divergence"),
        access="white",
        needs=("teacher_logits",),
        paper="Agarwal et al. 2024, On-Policy Distillation of Language Models (GKD), arXiv:2306.13649",
        recipe="recipes/quickstart-kl.yaml",
        proof=_PROOF,
    )
    type: Literal["kl"] = "kl"
    beta: float = Field(default=0.0, ge=0.0, le=1.0)
    """0 is forward KL(teacher, student), 1 is reverse KL(student, teacher), between them the generalized JSD."""
    temperature: float = Field(default=1.0, gt=0.0)
    """Both distributions are softened by it; the loss is scaled by its square (Hinton et al. 2015)."""
    kd_alpha: float = Field(default=1.0, ge=0.0, le=1.0)
    """Share of the divergence; the rest is cross-entropy on the teacher's words."""


Objective = Annotated[Sft | Kl | Custom, Field(discriminator="type")]


class ReasoningBuilder(Config):
    """Prompt, thoughts and answer; loss on thoughts and answer."""

    card: ClassVar[Card] = Card(
        "Thoughts and answer, loss on the assistant's tokens",
        ("builder",),
        proof="tests/unit/training/test_builders.py",
    )
    type: Literal["reasoning"] = "reasoning"


class AnswerOnlyBuilder(Config):
    """Prompt and answer without thoughts: the control that shows what the thoughts are worth."""

    card: ClassVar[Card] = Card(
        "The answer alone, without thoughts", ("builder", "baseline"), proof="tests/unit/training/test_builders.py"
    )
    type: Literal["answer_only"] = "answer_only"


Builder = Annotated[ReasoningBuilder | AnswerOnlyBuilder | Custom, Field(discriminator="type")]


class FullTuning(Config):
    """All weights are trained."""

    type: Literal["full"] = "full"


class Lora(Config):
    """Low-rank adapters (peft); merged into the weights when training ends. Hu et al. 2021, arXiv:2106.09685."""

    type: Literal["lora"] = "lora"
    rank: int = Field(default=16, ge=1)
    """Rank of the adapters."""
    alpha: float = Field(default=32.0, gt=0)
    """Scale; the adapters' output is multiplied by alpha / rank."""
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    """Dropout in front of the adapters."""
    target_modules: str | tuple[str, ...] = "all-linear"
    """Which layers get an adapter."""


Tuning = Annotated[FullTuning | Lora, Field(discriminator="type")]


class Control(Config):
    """A second student, trained for as many steps on something simpler, to compare with."""

    builder: Builder = AnswerOnlyBuilder()
    """What it learns from."""


class TrainSection(Config):
    """Objective, data, optimizer and checkpoints."""

    objective: Objective = Sft()
    """What is minimised."""
    builder: Builder = ReasoningBuilder()
    """How a record becomes tokens and a loss mask."""
    tuning: Tuning = FullTuning()
    """Which weights are trained."""
    control: Control | None = None
    """Train a control student too; costs its training time."""
    steps: int | None = Field(default=None, ge=1)
    """Optimizer steps; without it ``epochs`` decides."""
    epochs: float = Field(default=3.0, gt=0)
    """Passes over the data, where ``steps`` is not set."""
    batch_size: int = Field(default=8, ge=1)
    """Examples of a micro-batch."""
    gradient_accumulation: int = Field(default=1, ge=1)
    """Micro-batches of an optimizer step; the loss is the mean over all their tokens."""
    learning_rate: float = Field(default=1e-5, gt=0)
    """Peak learning rate of AdamW."""
    schedule: Literal["cosine", "linear", "constant"] = "cosine"
    """What follows the warm-up."""
    warmup_share: float = Field(default=0.05, ge=0.0, lt=1.0)
    """Share of the steps in which the learning rate rises from 0."""
    weight_decay: float = Field(default=0.0, ge=0.0)
    """Decoupled weight decay of matrices."""
    max_grad_norm: float = Field(default=1.0, gt=0)
    """Gradients are scaled down to this norm."""
    max_length: int = Field(default=4096, ge=8)
    """Longest example in tokens, prompt included."""
    too_long: Literal["drop", "truncate", "fail"] = "drop"
    """What happens to longer ones."""
    dtype: Literal["float32", "bfloat16"] = "float32"
    """Precision of the forward pass; master weights are always float32."""
    checkpoint_every: int = Field(default=200, ge=1)
    """Steps between checkpoints."""
    keep_checkpoints: int = Field(default=2, ge=1)
    """How many are kept."""
