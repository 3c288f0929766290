"""What `helm test` asks: does every address in URLS (space separated) answer 200? Standard library only."""

import os
import sys
import time
import urllib.error
import urllib.request


def answer(url: str) -> str:
    """``ok``, or what is wrong."""
    try:
        with urllib.request.urlopen(url, timeout=10) as reply:
            return "ok" if reply.status == 200 else f"answers {reply.status}"
    except urllib.error.HTTPError as error:
        return f"answers {error.code}"
    except OSError as error:
        return f"does not answer ({error})"


def main() -> int:
    urls = os.environ["URLS"].split()
    give_up = time.monotonic() + float(os.environ.get("WAIT_S", "120"))
    while True:
        answers = {url: answer(url) for url in urls}
        good = all(text == "ok" for text in answers.values())
        if good or time.monotonic() > give_up:
            for url, text in answers.items():
                print(f"{url}: {text}", flush=True)
            return 0 if good and urls else 1
        time.sleep(2)


if __name__ == "__main__":
    sys.exit(main())
