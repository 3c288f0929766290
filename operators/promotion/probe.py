"""Is the new champion good? One request, one answer, one word. Knows no trial and no consequences.

The addresses are the user's. So that a resource cannot be used to read what only the operator can reach, answers are
never repeated: messages say what was expected and that it was not found. Redirects are not followed, an answer is cut
off after ``LONGEST_ANSWER`` bytes, and everything together ends after the probe's time-out.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

import httpx

from operators.crds.promotion import CompletionProbe, HttpProbe, Probe
from operators.promotion.situation import Answer
from operators.resources import covers

LONGEST_ANSWER = 1 << 20
VERSION = "$(VERSION)"
# A pattern can take for ever on an unlucky text, and would take the whole operator with it: it gets a process.
_SEARCH = "import json, re, sys; p, t = json.load(sys.stdin); sys.exit(0 if re.search(p, t, re.DOTALL) else 3)"
_NO_MATCH = 3


async def ask(probe: Probe, version: str) -> Answer:
    """Ask once; never raises for what the server does. ``version`` stands in for ``$(VERSION)``."""
    try:
        async with asyncio.timeout(probe.timeout_seconds):
            if probe.http is not None:
                return await _http(probe.http, version)
            assert probe.completion is not None
            return await _completion(probe.completion, version)
    except TimeoutError:
        return Answer(False, f"no answer within {probe.timeout_seconds} s")
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        return Answer(False, f"no answer ({type(error).__name__})")


async def _http(probe: HttpProbe, version: str) -> Answer:
    body = _filled(probe.body, version)
    status, content = await _request(probe.method, _filled(probe.url, version), body)
    if status != probe.expect_status:
        return Answer(False, f"status {status}, expected {probe.expect_status}")
    if probe.expect_json is None:
        return Answer(True)
    good = covers(_json(content), _filled(probe.expect_json, version))
    return Answer(good, "" if good else "the answer does not contain expectJson")


async def _completion(probe: CompletionProbe, version: str) -> Answer:
    body: dict[str, Any] = {
        "model": _filled(probe.model, version), "max_tokens": probe.max_tokens, "temperature": 0.0, "seed": 0,
    }  # fmt: skip
    if probe.chat:
        path, body["messages"] = "/chat/completions", [{"role": "user", "content": probe.prompt}]
    else:
        path, body["prompt"] = "/completions", probe.prompt
    status, content = await _request("POST", _filled(probe.url, version).rstrip("/") + path, body)
    if status != 200:
        return Answer(False, f"status {status}, expected 200")
    text = _reply(_json(content))
    if text is None:
        return Answer(False, "the answer is no completion")
    good = await _found(probe.expect_regex, text)
    return Answer(good, "" if good else f"the reply does not match {probe.expect_regex}")


async def _request(method: str, url: str, body: Any) -> tuple[int, bytes]:
    content = b""
    async with (
        httpx.AsyncClient(timeout=None, follow_redirects=False) as client,
        client.stream(method, url, json=body) as answer,
    ):
        async for part in answer.aiter_bytes():
            content += part
            if len(content) > LONGEST_ANSWER:
                break
        return answer.status_code, content


async def _found(pattern: str, text: str) -> bool:
    command = [sys.executable, "-I", "-S", "-c", _SEARCH]
    child = await asyncio.create_subprocess_exec(*command, stdin=asyncio.subprocess.PIPE)
    try:
        await child.communicate(json.dumps([pattern, text]).encode())
    finally:
        if child.returncode is None:
            child.kill()
            await child.wait()
    if child.returncode not in (0, _NO_MATCH):
        raise RuntimeError(f"the search for {pattern!r} ended with {child.returncode}")
    return child.returncode == 0


def _reply(plain: Any) -> str | None:
    """The text of the first choice, its reasoning included; None where there is no such thing."""
    try:
        choice = plain["choices"][0]
        message = choice.get("message") or {"content": choice.get("text")}
        parts = [message.get("reasoning_content") or message.get("reasoning") or "", message.get("content") or ""]
    except (KeyError, IndexError, TypeError, AttributeError):
        return None
    return "\n".join(part for part in parts if part and isinstance(part, str))


def _json(content: bytes) -> Any:
    try:
        return json.loads(content)
    except ValueError:
        return None


def _filled(value: Any, version: str) -> Any:
    """``value`` with the version in its texts."""
    if isinstance(value, str):
        return value.replace(VERSION, version)
    if isinstance(value, dict):
        return {key: _filled(item, version) for key, item in value.items()}
    return [_filled(item, version) for item in value] if isinstance(value, list) else value
