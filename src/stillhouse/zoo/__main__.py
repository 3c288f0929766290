"""`python -m stillhouse.zoo`: trains the zoo from scratch, two models at a time, and writes weights and model cards.

One model is trained in this process; several are one subprocess each, so that none shares a thread with another.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from stillhouse.zoo import MODELS, WEIGHTS


def main(argv: Sequence[str] | None = None) -> int:
    """Parses the arguments, trains, and returns the exit status: that of the first model that failed."""
    parser = argparse.ArgumentParser(prog="python -m stillhouse.zoo", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--out", type=Path, default=WEIGHTS, help="folder for one folder per model (%(default)s)")
    parser.add_argument("--only", choices=MODELS, help="train one model, in this process")
    parser.add_argument("--jobs", type=int, default=2, help="models trained at the same time (%(default)s)")
    args = parser.parse_args(argv)
    if args.only:
        _train(args.only, args.out)
        return 0
    with ThreadPoolExecutor(max_workers=max(1, args.jobs)) as pool:
        statuses = list(pool.map(lambda name: _spawn(name, args.out), _slowest_first()))
    return next((status for status in statuses if status), 0)


def _slowest_first() -> list[str]:
    """`wordy` has the longest replies and alone takes half of the time."""
    return sorted(MODELS, key=lambda name: name != "wordy")


def _spawn(name: str, out: Path) -> int:
    command = [sys.executable, "-m", "stillhouse.zoo", "--only", name, "--out", str(out)]
    return subprocess.run(command, check=False).returncode


def _train(name: str, out: Path) -> None:
    from stillhouse.zoo.measure import model_card, scores
    from stillhouse.zoo.tokenizer import build_tokenizer
    from stillhouse.zoo.train import SPECS, save_model, train_model

    start = time.monotonic()
    spec = SPECS[name]
    print(f"{name}: training {spec.schedule.num_steps} steps", flush=True)
    model = train_model(spec)
    save_model(model, out / name)
    measured = scores(model, build_tokenizer())
    (out / name / "README.md").write_text(model_card(spec, measured), encoding="utf-8")
    for line in measured:
        print(f"{name}: {line.family} T={line.temperature:g} {line.accuracy:.1%}, {line.tokens:.1f} tokens", flush=True)
    print(f"{name}: done in {time.monotonic() - start:.0f} s", flush=True)


if __name__ == "__main__":
    raise SystemExit(main())
