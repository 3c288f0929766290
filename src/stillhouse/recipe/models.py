"""What can be told of a model without loading it: its folder, revision, tokenizer, licence, size.

Torch-free: files are hashed and their JSON is read, nothing more. ``stillhouse.models`` loads what is found here.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import re
from pathlib import Path
from typing import Any

from stillhouse.digest import sha256_files, sha256_json
from stillhouse.errors import RecipeError, nearest
from stillhouse.recipe.document import parse_yaml
from stillhouse.recipe.sources import ZOO, tokenizer_digest
from stillhouse.recipe.teacher import ModelRef
from stillhouse.storage import local_path

WEIGHTS = ("*.safetensors", "pytorch_model*.bin")
CONTENT = ("*.json", "*.safetensors", "*.bin", "*.model", "*.txt", "*.jinja", "*.tiktoken")
"""Everything in a model folder that decides what the model says; as in ``stillhouse.models.loading``."""
FULL_HASH_BELOW = 1 << 30
"""Folders smaller than this, in bytes, are hashed whole; larger ones by the ends of their files."""
_END = 1 << 20
_FRONT_MATTER = re.compile(r"\A---\s*\n(.*?)\n---\s*(?:\n|\Z)", re.DOTALL)
_LFS = b"version https://git-lfs"
_COMMIT = re.compile(r"[0-9a-f]{40}")


def describe(ref: ModelRef) -> dict[str, str]:
    """What ``ref`` leaves open, by field: ``revision``, ``tokenizer_digest``, ``licence``.

    ``hf://`` models are looked up in the hub's local cache only; what is not there stays open.

    Raises:
        RecipeError: a folder that is missing or is no model; content that is not what ``revision`` says.
    """
    folder = find_folder(ref)
    if folder is None:
        return {}
    if ref.model.startswith("hf://"):
        revision = folder.name if _COMMIT.fullmatch(folder.name) else ref.revision
    else:
        check_folder(ref.model, folder)
        revision = content_revision(folder)
        if ref.revision and ref.revision != revision:
            raise RecipeError(
                f"revision = {ref.revision!r}: the content of {ref.model} is {revision[:12]}…; "
                "remove the revision, or restore the model that it names"
            )
    return {
        "revision": revision,
        "tokenizer_digest": tokenizer_digest(folder) or ref.tokenizer_digest,
        "licence": ref.licence or card_licence(folder),
    }


def find_folder(ref: ModelRef) -> Path | None:
    """The local folder of ``ref``; None for an ``hf://`` model that is not in the local cache.

    Raises:
        RecipeError: an unknown zoo model, another kind of address.
    """
    if ref.model.startswith("zoo:"):
        name = ref.model.removeprefix("zoo:")
        known = [path.name for path in (ZOO / "weights").glob("*") if path.is_dir()]
        if not known:
            raise RecipeError(
                f"model = {ref.model!r}: the zoo has no weights here; make them: python -m stillhouse.zoo"
            )
        if name not in known:
            raise RecipeError(f"model = {ref.model!r}: no such zoo model; {nearest(name, known)}")
        return ZOO / "weights" / name
    if ref.model.startswith("hf://"):
        return _hub_snapshot(ref)
    plain = ref.model.removeprefix("file://")
    if "://" in plain:
        raise RecipeError(f"model = {ref.model!r}: cannot be read; use a folder, zoo:<name> or hf://<repository>")
    try:
        return local_path(plain)
    except RecipeError as error:
        raise RecipeError(f"model = {error}") from error


def check_folder(name: str, folder: Path) -> None:
    """Refuse a ``folder`` that cannot be a model; ``name`` is what the recipe calls it.

    Raises:
        RecipeError: what is missing, and which files would be right.
    """
    where = f"model = {name!r}"
    if not folder.is_dir():
        hint = "; for a model of the hub write hf://" + name if re.fullmatch(r"[\w.-]+/[\w.-]+", name) else ""
        raise RecipeError(f"{where}: no such folder{hint}")
    files = [path for pattern in WEIGHTS for path in sorted(folder.glob(pattern)) if path.is_file()]
    if not files:
        convert = "; a GGUF file must be converted first (save_pretrained)" if any(folder.glob("*.gguf")) else ""
        raise RecipeError(f"{where}: the folder has no weights; put {' or '.join(WEIGHTS)} there{convert}")
    if not (folder / "config.json").is_file():
        raise RecipeError(f"{where}: the folder has no config.json; it must be one written by save_pretrained")
    for path in files:
        with path.open("rb") as stream:
            head = stream.read(len(_LFS))
        if not head or head == _LFS:
            what = "is empty" if not head else "is a Git LFS pointer, not weights; run git lfs pull"
            raise RecipeError(f"{where}: {path.name} {what}")
    for index in folder.glob("*.index.json"):
        missing = sorted(set(_json(index).get("weight_map", {}).values()) - {path.name for path in files})
        if missing:
            raise RecipeError(f"{where}: {index.name} names {missing[0]}, which is not there; copy the folder again")


def content_revision(folder: Path) -> str:
    """Digest of config, weights, tokenizer and template in ``folder``.

    From 1 GiB on, only size, first and last MiB of each file are read: a copy that was cut short or another
    training is seen, bits that rot in the middle are not.
    """
    paths = sorted({path for pattern in CONTENT for path in folder.glob(pattern) if path.is_file()})
    if sum(path.stat().st_size for path in paths) < FULL_HASH_BELOW:
        return sha256_files(paths, folder)
    return sha256_json([[path.name, path.stat().st_size, _ends(path)] for path in paths])


def _ends(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        digest.update(stream.read(_END))
        stream.seek(max(0, path.stat().st_size - _END))
        digest.update(stream.read(_END))
    return digest.hexdigest()


def card_licence(folder: Path) -> str:
    """``license`` of the model card's front matter, empty where there is none; ``license_name`` behind "other"."""
    card = folder / "README.md"
    if not card.is_file():
        return ""
    matter = _FRONT_MATTER.match(card.read_text(encoding="utf-8", errors="replace").replace("\r\n", "\n"))
    fields = parse_yaml(matter[1], str(card)) if matter else None
    if not isinstance(fields, dict):
        return ""
    licence = fields.get("license")
    if isinstance(licence, list):
        licence = licence[0] if licence else ""
    if licence == "other":
        licence = fields.get("license_name") or licence
    return str(licence or "")


def parameter_count(folder: Path) -> int:
    """Number of weights in ``folder``, from the headers of its safetensors files; 0 where it has none."""
    total = 0
    for path in folder.glob("*.safetensors"):
        with path.open("rb") as stream:
            length = int.from_bytes(stream.read(8), "little")
            if length > path.stat().st_size:
                return 0
            header = json.loads(stream.read(length))
        for name, tensor in header.items():
            if name != "__metadata__":
                size = 1
                for side in tensor["shape"]:
                    size *= side
                total += size
    return total


def _hub_snapshot(ref: ModelRef) -> Path | None:
    """The model's folder in the hub's local cache. Looks, never downloads."""
    if importlib.util.find_spec("huggingface_hub") is None:
        return None
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    repository = ref.model.removeprefix("hf://")
    try:
        found = try_to_load_from_cache(repository, "config.json", revision=ref.revision or None)
    except HFValidationError as error:
        raise RecipeError(f"model = {ref.model!r}: must be hf://<owner>/<name>") from error
    return Path(found).parent if isinstance(found, str) else None


def _json(path: Path) -> dict[str, Any]:
    try:
        tree = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise RecipeError(f"{path}: is not valid JSON ({error}); copy the folder again") from error
    return tree if isinstance(tree, dict) else {}
