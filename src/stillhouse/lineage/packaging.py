"""A student's folder as an MLflow model, without loading it.

``mlflow.transformers.save_model`` would start torch, load the tokenizer and ask the hub for a model card; all it leaves
behind is the model's own files and a page of YAML, which is written here. The files stand at the top of the folder:
what ``mlflow.transformers.load_model`` loads is also a plain model folder for ``from_pretrained`` and for servers.
"""

from __future__ import annotations

import json
import shutil
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from mlflow.models import Model, ModelSignature
from mlflow.types import ColSpec, DataType, Schema

from stillhouse.errors import RecipeError
from stillhouse.workspace import link_tree

_TOKENIZER_FILES = (
    "tokenizer*",
    "vocab*",
    "merges.txt",
    "special_tokens_map.json",
    "added_tokens.json",
    "chat_template*",
    "spiece.model",
)
_REQUIREMENTS = ("mlflow", "torch", "transformers", "accelerate", "safetensors")


def package(folder: Path, target: Path, *, name: str, model_id: str, run_id: str, location: str) -> None:
    """Lay the model in ``folder`` out in ``target`` as an MLflow model (hard links where the file system allows).

    Raises:
        RecipeError: ``folder`` is not a model's folder.
    """
    config_path = folder / "config.json"
    if not config_path.is_file():
        raise RecipeError(f"{folder}: not a model's folder (config.json is missing)")
    config = json.loads(config_path.read_text(encoding="utf-8"))
    link_tree(folder, target)
    tokenizer = target / "components" / "tokenizer"
    tokenizer.mkdir(parents=True)
    for pattern in _TOKENIZER_FILES:
        for path in folder.glob(pattern):
            if path.is_file():
                shutil.copyfile(path, tokenizer / path.name)
    architectures = config.get("architectures") or ["AutoModelForCausalLM"]
    model = Model(artifact_path=location, run_id=run_id, model_id=model_id, model_uuid=model_id)
    model.signature = ModelSignature(
        inputs=Schema([ColSpec(DataType.string)]), outputs=Schema([ColSpec(DataType.string)])
    )
    model.add_flavor(
        "transformers",
        transformers_version=_installed("transformers"),
        code=None,
        task="text-generation",
        instance_type="TextGenerationPipeline",
        pipeline_model_type=architectures[0],
        source_model_name=name,
        model_binary=".",
        components=["tokenizer"],
        tokenizer_type="AutoTokenizer",
        torch_dtype=f"torch.{config.get('dtype') or config.get('torch_dtype') or 'float32'}",
    )
    model.add_flavor(
        "python_function",
        loader_module="mlflow.transformers",
        python_version="3.11",
        env={"virtualenv": "python_env.yaml"},
    )
    model.save(str(target / "MLmodel"))
    pins = [f"{package_name}=={found}" for package_name in _REQUIREMENTS if (found := _installed(package_name))]
    (target / "requirements.txt").write_text("\n".join(pins) + "\n", encoding="utf-8")
    environment = "python: '3.11'\nbuild_dependencies: [pip]\ndependencies:\n- -r requirements.txt\n"
    (target / "python_env.yaml").write_text(environment, encoding="utf-8")


def _installed(package_name: str) -> str:
    try:
        return version(package_name).partition("+")[0]
    except PackageNotFoundError:
        return ""
