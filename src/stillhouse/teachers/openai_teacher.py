"""A teacher behind any OpenAI-compatible server.

Bounded concurrency, endpoints in turn, retry with exponential backoff and jitter, ``Retry-After``, a deadline per try.
What an HTTP answer means stands in ``openai_protocol``; what is asked and what is kept stands elsewhere. The API key
comes from the environment variable that the recipe names and appears in no message.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import httpx

from stillhouse.errors import RecipeError, TransientError
from stillhouse.models.requests import ChatRequest, Reply, failed
from stillhouse.recipe.teacher import OpenAITeacher as OpenAIConfig
from stillhouse.recipe.teacher import Sampling
from stillhouse.teachers.background import Background, Put
from stillhouse.teachers.openai_protocol import error_text, judge, parse_reply, payload, retry_after

_FLUSH_S = 2.0
"""A finished reply waits no longer than this to be handed on (and stored)."""
_BACKOFF_LIMIT_S = 30.0
_REJECTED_AT_LEAST = 8


class OpenAITeacher:
    """Yields replies in the order in which they are finished, at most ``concurrency`` at a time.

    ``backoff_s`` is the mean pause before the first retry; it doubles with each. A request whose retries are exhausted
    gets an error reply. Once that happens to twice ``concurrency`` requests in a row (or to one, while no server
    has answered anything yet) the servers count as gone.

    Raises:
        RecipeError: an endpoint is not an http(s) URL; the key is refused, the model unknown, all requests rejected.
        TransientError: no server can be reached, or all stopped answering.
    """

    def __init__(self, config: OpenAIConfig, *, backoff_s: float = 0.5) -> None:
        self.config = config
        self.backoff_s = backoff_s
        for endpoint in config.endpoints:
            _check_endpoint(config.name, endpoint)

    @property
    def name(self) -> str:
        return self.config.name

    @property
    def revision(self) -> str:
        """The served model's name and the recipe's revision of it: a server does not say what it runs."""
        return f"{self.config.model}@{self.config.revision}" if self.config.revision else self.config.model

    def generate(self, requests: Sequence[ChatRequest], sampling: Sampling) -> Iterator[list[Reply]]:
        if not requests:
            return
        session = _Session(self.config, sampling, self.backoff_s, total=len(requests))

        async def produce(put: Put[Reply]) -> None:
            await session.run(requests, put)

        yield from Background(produce).batches(self.config.concurrency, _FLUSH_S)


@dataclass
class _Session:
    """One ``generate``: counters of what the servers did so far, from which failures are told apart."""

    config: OpenAIConfig
    sampling: Sampling
    backoff_s: float
    total: int
    answered: int = 0
    rejected: int = 0
    lost_in_a_row: int = 0
    reached: bool = False
    key: str = field(default="", repr=False)

    async def run(self, requests: Sequence[ChatRequest], put: Put[Reply]) -> None:
        self.key = _read_key(self.config)
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        limits = httpx.Limits(max_connections=self.config.concurrency)
        waiting = iter(enumerate(requests))

        async with httpx.AsyncClient(headers=headers, limits=limits, timeout=None) as client:

            async def work() -> None:
                for index, request in waiting:
                    put(await self._ask(client, index, request))

            workers = [asyncio.create_task(work()) for _ in range(min(self.config.concurrency, self.total))]
            try:
                await asyncio.gather(*workers)
            finally:
                for worker in workers:
                    worker.cancel()
                await asyncio.gather(*workers, return_exceptions=True)

    async def _ask(self, client: httpx.AsyncClient, index: int, request: ChatRequest) -> Reply:
        problem = ""
        for attempt in range(self.config.retries + 1):
            endpoint = self.config.endpoints[(index + attempt) % len(self.config.endpoints)]
            reply, problem, pause = await self._try(client, endpoint, request)
            if reply is not None:
                return reply
            if attempt < self.config.retries:
                await asyncio.sleep(self._pause(attempt) if pause is None else pause)
        self._count_loss(problem)
        tries = self.config.retries + 1
        return failed(request.key, f"{problem} (after {tries} {'try' if tries == 1 else 'tries'})")

    async def _try(
        self, client: httpx.AsyncClient, endpoint: str, request: ChatRequest
    ) -> tuple[Reply | None, str, float | None]:
        """The reply, or what went wrong and the pause that the server asks for."""
        url = endpoint.rstrip("/") + "/chat/completions"
        try:
            async with asyncio.timeout(self.config.timeout_s):
                response = await client.post(url, json=payload(self.config.model, request, self.sampling))
        except TimeoutError:
            return None, f"no answer within {self.config.timeout_s:g} s", None
        except httpx.RequestError as error:
            return None, f"{type(error).__name__} at {endpoint}", None
        self.reached = True
        verdict = judge(response.status_code)
        if verdict == "ok":
            return self._accept(request, response)
        problem = error_text(response.status_code, response.text, self.key)
        if verdict == "fatal":
            raise RecipeError(
                f"teacher {self.config.name} at {endpoint}: {problem}; {self._advice(response.status_code)}"
            )
        if verdict == "rejected":
            return self._count_rejection(request, problem), problem, None
        return None, problem, retry_after(response.headers)

    def _accept(self, request: ChatRequest, response: httpx.Response) -> tuple[Reply | None, str, float | None]:
        try:
            reply = parse_reply(request, response.json())
        except ValueError:
            reply = None
        if reply is None:
            return None, "HTTP 200 without a chat completion in it", None
        self.answered += 1
        self.lost_in_a_row = 0
        return reply, "", None

    def _count_rejection(self, request: ChatRequest, problem: str) -> Reply:
        """One rejected request is a bad sample; when all are and none ever succeeded, the recipe is wrong."""
        self.rejected += 1
        enough = min(self.total, max(_REJECTED_AT_LEAST, 2 * self.config.concurrency))
        if self.answered == 0 and self.rejected >= enough:
            raise RecipeError(
                f"teacher {self.config.name}: the server rejects every request ({problem}); "
                "check the model's name and traces.sampling"
            )
        return failed(request.key, problem)

    def _count_loss(self, problem: str) -> None:
        self.lost_in_a_row += 1
        where = ", ".join(self.config.endpoints)
        if not self.reached:
            raise TransientError(
                f"teacher {self.config.name}: no endpoint can be reached ({problem}; tried {where}); "
                "start the server or correct teacher.endpoints, then run again"
            )
        if self.lost_in_a_row >= 2 * self.config.concurrency:
            raise TransientError(
                f"teacher {self.config.name} at {where}: {self.lost_in_a_row} requests in a row failed ({problem}); "
                "run again once the server answers, finished traces are kept"
            )

    def _pause(self, attempt: int) -> float:
        """Exponential backoff with jitter: the requests of a burst must not come back as a burst."""
        return min(self.backoff_s * 2.0**attempt, _BACKOFF_LIMIT_S) * random.uniform(0.5, 1.5)

    def _advice(self, status: int) -> str:
        variable = self.config.api_key_env
        if status in (401, 403):
            state = "its value is not accepted" if self.key else "it is not set"
            return f"check the environment variable {variable}: {state}"
        if status == 404:
            return f"check the model's name ({self.config.model}) and that the endpoint ends in /v1"
        return "check the endpoint's address"


def _check_endpoint(name: str, endpoint: str) -> None:
    try:
        url = httpx.URL(endpoint)
    except httpx.InvalidURL as error:
        raise RecipeError(f"teacher {name}: endpoint {endpoint!r} is no URL ({error})") from error
    if url.scheme not in ("http", "https") or not url.host:
        raise RecipeError(f"teacher {name}: endpoint {endpoint!r} must look like http://host:8000/v1")


def _read_key(config: OpenAIConfig) -> str:
    """The key, or nothing: local servers often want none."""
    key = os.environ.get(config.api_key_env, "").strip()
    if not key.isascii() or not key.isprintable():
        raise RecipeError(
            f"teacher {config.name}: the environment variable {config.api_key_env} holds characters that no key has; "
            "set it again, without line breaks"
        )
    return key
