"""A teacher run in this process by transformers. Loads its weights with the first request, not before."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property

from stillhouse.models.generate import generate
from stillhouse.models.loading import LoadedModel, content_revision, load, model_folder
from stillhouse.models.requests import ChatRequest, Reply
from stillhouse.recipe.teacher import Sampling
from stillhouse.recipe.teacher import TransformersTeacher as TransformersConfig


class TransformersTeacher:
    """Yields a whole length-sorted batch at a time.

    Raises:
        RecipeError: on construction, when the model's folder is missing or incomplete.
    """

    def __init__(self, config: TransformersConfig) -> None:
        self.config = config
        self._folder = model_folder(config)

    @property
    def name(self) -> str:
        return self.config.name

    @cached_property
    def revision(self) -> str:
        """The recipe's revision, or a digest of the folder's content where it names none."""
        return self.config.revision or content_revision(self._folder)

    @cached_property
    def loaded(self) -> LoadedModel:
        return load(self.config, dtype=self.config.dtype)

    def generate(self, requests: Sequence[ChatRequest], sampling: Sampling) -> Iterator[list[Reply]]:
        if requests:
            yield from generate(self.loaded, requests, sampling, self.config.batch_size)
