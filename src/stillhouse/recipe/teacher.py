"""Teachers, how they are asked, and how one of them is chosen."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from stillhouse.recipe.base import Card, Config, Custom


class Sampling(Config):
    """How tokens are drawn."""

    temperature: float = Field(default=0.6, ge=0.0)
    """0 is greedy."""
    top_p: float = Field(default=0.95, gt=0.0, le=1.0)
    """Nucleus: the smallest set of tokens with this much probability."""
    top_k: int = Field(default=0, ge=0)
    """Only the k most likely tokens; 0 is no limit."""
    max_tokens: int = Field(default=2048, ge=1)
    """Longest reply, in tokens; a reply that reaches it counts as truncated."""


class ModelRef(Config):
    """A causal language model by name."""

    model: str
    """A folder, ``zoo:<name>`` or ``hf://<repository>``."""
    revision: str = ""
    """Commit of an ``hf://`` model; for folders the content digest is filled in when the recipe is resolved."""
    licence: str = ""
    """SPDX name; read from the model card when empty."""
    tokenizer_digest: str = ""
    """Digest of the vocabulary; filled in when the recipe is resolved, empty where it cannot be known."""


class TransformersTeacher(ModelRef):
    """A model run in the stage itself by transformers."""

    card: ClassVar[Card] = Card(
        "Local model, batched and length-sorted, with key-value cache",
        tags=("teacher", "offline"),
        access="white",
        proof="tests/unit/teachers/test_transformers_teacher.py",
    )
    type: Literal["transformers"] = "transformers"
    name: str
    """Short name, used in reports and tags."""
    batch_size: int = Field(default=64, ge=1)
    """Replies generated side by side."""
    dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """Precision of the weights while generating."""


class OpenAITeacher(Config):
    """A model behind any OpenAI-compatible server."""

    card: ClassVar[Card] = Card(
        "OpenAI-compatible endpoint: bounded concurrency, retry with backoff, Retry-After",
        tags=("teacher", "server"),
        access="black",
        proof="tests/unit/teachers/test_openai_teacher.py",
    )
    type: Literal["openai"] = "openai"
    name: str
    """Short name, used in reports and tags."""
    model: str
    """The model's name at the server."""
    revision: str = ""
    """What the server runs; part of the trace key, so change it when the served model changes."""
    endpoints: tuple[str, ...] = Field(min_length=1)
    """Base URLs, each ending in ``/v1``; used in turn."""
    api_key_env: str = "OPENAI_API_KEY"
    """Environment variable with the key; the key itself never stands in a recipe."""
    licence: str = ""
    """SPDX name of the licence that the replies come under."""
    concurrency: int = Field(default=16, ge=1)
    """Requests in flight at once."""
    timeout_s: float = Field(default=600.0, gt=0)
    """Deadline of one request, in seconds."""
    retries: int = Field(default=6, ge=0)
    """Tries after the first for 429, 5xx and timeouts, with exponential backoff and jitter."""
    price_per_million_tokens: float = Field(default=0.0, ge=0.0)
    """Price of a million completion tokens, in the recipe's currency; for the cost estimate."""
    tokenizer_digest: str = ""
    """Unknown for a server; objectives that need the teacher's logits refuse it."""


TeacherConfig = Annotated[TransformersTeacher | OpenAITeacher | Custom, Field(discriminator="type")]


class Pilot(Config):
    """A small distillation for each candidate, to measure what the student gains."""

    traces: int = Field(default=400, ge=1)
    """Verified traces to train on."""
    steps: int = Field(default=200, ge=1)
    """Optimizer steps, equal for all candidates."""


class TeacherSelection(Config):
    """How candidates are compared on the probe problems."""

    samples: int = Field(default=2, ge=1)
    """Replies asked for each probe problem."""
    key: Literal["accuracy", "tokens_per_correct", "student_nll", "pilot_gain"] = "tokens_per_correct"
    """What ranks the teachers that pass: highest accuracy or pilot gain, lowest tokens or student NLL."""
    within: float = Field(default=0.05, ge=0.0)
    """Candidates whose accuracy lies this far below the best one are out before the key decides."""
    pilot: Pilot | None = None
    """Train the student briefly on each candidate's traces and measure the gain."""
    none_if_gain_below: float = Field(default=0.05)
    """Do not distil when the best teacher's accuracy exceeds the student's by less than this (as a share)."""


class TeacherSection(Config):
    """The candidates and the way to choose among them."""

    candidates: tuple[TeacherConfig, ...] = Field(min_length=1)
    """Teachers to compare; with one candidate the comparison is still made and recorded."""
    select: TeacherSelection = TeacherSelection()
    """How to choose."""
