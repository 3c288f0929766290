"""A teacher behind any OpenAI-compatible server.

Bounded concurrency, endpoints in turn, retry with exponential backoff and jitter, ``Retry-After``, a deadline per try.
What an HTTP answer means stands in ``openai_protocol``, how long one waits for a server that is not there in
``waiting``; what is asked and what is kept stands elsewhere. The API key comes from the environment variable that the
recipe names and appears in no message.
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
from stillhouse.teachers.waiting import AWAY, POLL_S, Patience, wait_s

_FLUSH_S = 2.0
"""A finished reply waits no longer than this to be handed on (and stored)."""
_BACKOFF_LIMIT_S = 30.0
_REJECTED_AT_LEAST = 8
_CONNECT_S = 30.0
"""Where one waits for servers, a connection that takes longer means that nobody is there."""


class OpenAITeacher:
    """Yields replies in the order in which they are finished, at most ``concurrency`` at a time.

    ``backoff_s`` is the mean pause before the first retry; it doubles with each. A request whose retries are exhausted
    gets an error reply. Once that happens to twice ``concurrency`` requests in a row (or to one, while no server
    has answered anything yet) the servers count as gone.

    With ``STILLHOUSE_TEACHER_WAIT_S`` set, servers that are not there (refused connections, 502, 503, 504) are waited
    for that long, at the start and in the middle, before any of this counts; ``poll_s`` seconds between two looks.

    Raises:
        RecipeError: an endpoint is not an http(s) URL; the key is refused, the model unknown, all requests rejected.
        TransientError: no server can be reached, all stopped answering, or none came in time.
    """

    def __init__(self, config: OpenAIConfig, *, backoff_s: float = 0.5, poll_s: float = POLL_S) -> None:
        self.config = config
        self.backoff_s = backoff_s
        self.poll_s = poll_s
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
        patience = Patience(self.config.name, self.config.endpoints, wait_s(), self.poll_s)
        session = _Session(self.config, sampling, self.backoff_s, patience, total=len(requests))

        async def produce(put: Put[Reply]) -> None:
            await session.run(requests, put)

        yield from Background(produce).batches(self.config.concurrency, _FLUSH_S)


@dataclass(frozen=True)
class _Failure:
    """What went wrong with one try, the pause that the server asks for, and whether nobody was there at all."""

    problem: str
    pause_s: float | None = None
    away: bool = False


@dataclass
class _Session:
    """One ``generate``: counters of what the servers did so far, from which failures are told apart."""

    config: OpenAIConfig
    sampling: Sampling
    backoff_s: float
    patience: Patience
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

        timeout = httpx.Timeout(None, connect=_CONNECT_S if self.patience.limit_s else None)

        async with httpx.AsyncClient(headers=headers, limits=limits, timeout=timeout) as client:
            await self.patience.until_served(client, self._refuse)

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
        attempt = tries = 0
        while True:
            endpoint = self.config.endpoints[(index + attempt) % len(self.config.endpoints)]
            answer = await self._try(client, endpoint, request)
            if isinstance(answer, Reply):
                return answer
            # Looking for a server that is not there is no try, where one may wait for it.
            if not (answer.away and self.patience.bear(endpoint, answer.problem)):
                tries += 1
                if tries > self.config.retries:
                    break
            await asyncio.sleep(self._pause(attempt) if answer.pause_s is None else answer.pause_s)
            attempt += 1
        self._count_loss(answer.problem)
        return failed(request.key, f"{answer.problem} (after {tries} {'try' if tries == 1 else 'tries'})")

    async def _try(self, client: httpx.AsyncClient, endpoint: str, request: ChatRequest) -> Reply | _Failure:
        url = endpoint.rstrip("/") + "/chat/completions"
        try:
            async with asyncio.timeout(self.config.timeout_s):
                response = await client.post(url, json=payload(self.config.model, request, self.sampling))
        except TimeoutError:
            return _Failure(f"no answer within {self.config.timeout_s:g} s")
        except httpx.RequestError as error:
            return _Failure(f"{type(error).__name__} at {endpoint}", away=True)
        self.reached = True
        if response.status_code not in AWAY:
            self.patience.back(endpoint)
        verdict = judge(response.status_code)
        if verdict == "ok":
            return self._accept(request, response)
        if verdict == "fatal":
            self._refuse(endpoint, response)
        problem = error_text(response.status_code, response.text, self.key)
        if verdict == "rejected":
            return self._count_rejection(request, problem)
        return _Failure(problem, retry_after(response.headers), away=response.status_code in AWAY)

    def _refuse(self, endpoint: str, response: httpx.Response) -> None:
        problem = error_text(response.status_code, response.text, self.key)
        raise RecipeError(f"teacher {self.config.name} at {endpoint}: {problem}; {self._advice(response.status_code)}")

    def _accept(self, request: ChatRequest, response: httpx.Response) -> Reply | _Failure:
        try:
            reply = parse_reply(request, response.json())
        except ValueError:
            reply = None
        if reply is None:
            return _Failure("HTTP 200 without a chat completion in it")
        self.answered += 1
        self.lost_in_a_row = 0
        return reply

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
