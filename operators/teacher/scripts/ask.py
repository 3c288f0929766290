"""Asks the server in this pod for one token: the startup probe. Arguments: BASE_URL MODEL PROMPT TIMEOUT_S.

Exits 0 when a completion with a choice came back, else 1 with one line that says why. A key comes from VLLM_API_KEY.
"""

import json
import os
import sys
import urllib.error
import urllib.request


def post(url: str, body: object, timeout_s: float) -> object:
    """The answer's choices; raises HTTPError, OSError or ValueError."""
    headers = {"Content-Type": "application/json"}
    if os.environ.get("VLLM_API_KEY"):
        headers["Authorization"] = "Bearer " + os.environ["VLLM_API_KEY"]
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    # No proxy: the server is in this pod.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(request, timeout=timeout_s) as answer:
        return json.load(answer)["choices"][0]


def main(base: str, model: str, prompt: str, timeout_s: str) -> "str | None":
    chat = {"model": model, "max_tokens": 1, "messages": [{"role": "user", "content": prompt}]}
    plain = {"model": model, "max_tokens": 1, "prompt": prompt}
    try:
        try:
            post(base + "/chat/completions", chat, float(timeout_s))
        except urllib.error.HTTPError as error:
            if error.code not in (400, 404):
                raise
            # A base model has no chat template; it completes all the same.
            post(base + "/completions", plain, float(timeout_s))
    except urllib.error.HTTPError as error:
        return f"no completion yet: HTTP {error.code}"
    except (OSError, ValueError, LookupError, TypeError) as error:
        return f"no completion yet: {type(error).__name__}"
    return None


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
