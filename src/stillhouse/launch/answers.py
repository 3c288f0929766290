"""What KFP's answers, and the lack of one, mean: ours to correct, or to try again.

Whether a request that failed was carried out all the same is not known here; ``launch.once`` looks.
"""

from __future__ import annotations

import json
from typing import Any

from stillhouse.errors import RecipeError, StillhouseError, TransientError
from stillhouse.launch.endpoint import CA_ENV, NAMESPACE_ENV, TOKEN_ENV, Endpoint

_RETRIED = {408, 425, 429, 500, 502, 503, 504}
_NOT_THE_API = "is the path right (often .../pipeline), and is a token set"


class Throttled(TransientError):
    """KFP asks to wait; ``after_s`` is what it named, or nothing."""

    def __init__(self, text: str, after_s: float | None = None) -> None:
        super().__init__(text)
        self.after_s = after_s


class NotSent(Throttled):
    """The request was surely not carried out: nobody was there, or too many asked at once."""


class NotFound(RecipeError):
    """There is no such thing at the server."""


class Exists(RecipeError):
    """The server has one of that name already."""


class Unable(TransientError):
    """The server tried and failed (500): its own words say whether trying again helps."""


def no_answer(endpoint: Endpoint, error: Exception) -> StillhouseError:
    """The error for a request without an answer."""
    told = f"{type(error).__name__}: {error}"
    reason = getattr(error, "reason", None)
    if "CERTIFICATE_VERIFY_FAILED" in told or "CERTIFICATE_VERIFY_FAILED" in str(reason):
        return RecipeError(
            f"{endpoint.url}: its certificate is not trusted; name the authority's file in --ca-file or {CA_ENV}"
        )
    what = type(reason).__name__ if isinstance(reason, Exception) else type(error).__name__
    text = f"{endpoint.url}: Kubeflow Pipelines does not answer ({what}); try again, or correct the endpoint"
    # A connection that was never made; anything else may have been lost on the way back.
    return (
        NotSent(text)
        if what in ("NewConnectionError", "ConnectTimeoutError", "NameResolutionError")
        else (TransientError(text))
    )


def bad_answer(endpoint: Endpoint, status: int, body: Any, retry_after: str, what: str) -> StillhouseError:
    """The error for an answer that is not 2xx; ``what`` was asked for."""
    message, is_api = _message(body)
    where = f"{endpoint.url}: {what}"
    if status in (401, 302, 303, 307):
        token = f"the token in {endpoint.token_file} is expired or for another audience" if endpoint.token_file else (
            f"no token was sent; name a file with one in --token-file or {TOKEN_ENV}"
        )  # fmt: skip
        return RecipeError(f"{where}: not authenticated; {token}")
    if status == 403:
        place = f"namespace {endpoint.namespace}" if endpoint.namespace else "it"
        return RecipeError(
            f"{where}: {place} is unknown or not yours ({message}); correct --namespace or the role binding"
        )
    if status == 404 and not is_api:
        return RecipeError(f"{endpoint.url}: is no Kubeflow Pipelines API; {_NOT_THE_API}?")
    if status == 404:
        return NotFound(f"{where}: there is no such thing ({message})")
    if status == 409:
        return Exists(f"{where}: exists already ({message})")
    if status == 500 and is_api:
        return Unable(f"{where}: {message}; try again")
    if status in _RETRIED:
        after = float(retry_after) if retry_after.isdigit() else None
        kind = NotSent if status == 429 else Throttled
        return kind(f"{where}: answered {status} ({message or 'busy'}); try again", after)
    if "amespace" in message and "empty" in message:
        return RecipeError(f"{where}: this installation has several users; set --namespace or {NAMESPACE_ENV}")
    return RecipeError(f"{where}: refused with {status} ({message})")


def _message(body: Any) -> tuple[str, bool]:
    """The server's words, and whether they came from KFP's API (or from something in front of it)."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    try:
        told = json.loads(text)
    except ValueError:
        return " ".join(text.split())[:120], False
    if not isinstance(told, dict):
        return " ".join(text.split())[:120], False
    words = told.get("error_message") or told.get("message") or told.get("error") or ""
    is_api = bool({"code", "error_message"} & set(told))
    return " ".join(str(words).split())[:300], is_api


def looks_like_html(body: Any) -> bool:
    """Whether a proxy's page came where JSON was expected."""
    text = body.decode("utf-8", "replace") if isinstance(body, bytes) else str(body or "")
    return text.lstrip()[:1] == "<"


def not_the_api(endpoint: Endpoint) -> RecipeError:
    return RecipeError(f"{endpoint.url}: answers with a page and not with KFP's API; {_NOT_THE_API}?")
