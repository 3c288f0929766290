"""JSON over HTTP with the error tree: what ``kfp`` and ``mlflow`` are built on."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import httpx

from operators.errors import Throttled
from stillhouse.errors import RecipeError, TransientError

TIMEOUT_S = 30.0


class Rest:
    """One service. ``name`` is its word in errors; ``headers`` is asked before every request (tokens rotate)."""

    def __init__(self, name: str, base: str, *, headers: Any = dict, ca_file: str = "", setting: str = "") -> None:
        self.name, self.base, self._headers, self._setting = name, base.rstrip("/"), headers, setting
        self._ca_file = ca_file
        self._client: httpx.AsyncClient | None = None

    async def call(
        self, method: str, path: str, *, params: Mapping[str, Any] | None = None, json: Any = None, missing: Any = ...
    ) -> Any:
        """The answer's JSON; ``missing`` is the answer to a 404 where it is given.

        Raises:
            RecipeError: the service is not configured, or refuses the request (400, 401, 403, 404, 422).
            TransientError: it does not answer, is throttling (429) or failing (5xx).
        """
        answer = await self._ask(method, path, params, json)
        if answer.status_code == 404 and missing is not ...:
            return missing
        self._refuse(answer, path)
        return answer.json() if answer.content else {}

    async def content(self, path: str, params: Mapping[str, Any]) -> tuple[int, bytes]:
        """Status and body of a GET, whatever they are. Raises as ``call`` where there is no answer at all."""
        answer = await self._ask("GET", path, params, None)
        return answer.status_code, answer.content

    async def _ask(self, method: str, path: str, params: Mapping[str, Any] | None, json: Any) -> httpx.Response:
        if not self.base:
            raise RecipeError(f"{self.name} is not configured; set {self._setting} (chart value) for the operator")
        try:
            return await self._open().request(
                method, f"{self.base}{path}", params=dict(params or {}), json=json, headers=self._headers()
            )
        except httpx.HTTPError as error:
            raise TransientError(f"{self.name} at {self.base} does not answer ({type(error).__name__})") from error

    async def close(self) -> None:
        if self._client is not None:
            await self._client.aclose()

    def _open(self) -> httpx.AsyncClient:
        if self._client is None:
            self._client = httpx.AsyncClient(timeout=TIMEOUT_S, verify=self._verify(), follow_redirects=False)
        return self._client

    def _verify(self) -> Any:
        if not self._ca_file:
            return True
        import ssl

        return ssl.create_default_context(cafile=self._ca_file)

    def _refuse(self, answer: httpx.Response, path: str) -> None:
        code = answer.status_code
        if code < 300:
            return
        text = " ".join(answer.text.split())[:300]
        if code == 429:
            wait = answer.headers.get("Retry-After", "1")
            raise Throttled(f"{self.name} is throttling", float(wait) if wait.replace(".", "", 1).isdigit() else 1.0)
        if code >= 500 or code < 400:
            raise TransientError(f"{self.name} answers {code} to {path} ({text})")
        if code in (401, 403):
            raise TransientError(
                f"{self.name} refuses the operator's credentials ({code} to {path}: {text}); check its token and role"
            )
        raise RecipeError(f"{self.name} refuses {path} ({code}: {text})")
