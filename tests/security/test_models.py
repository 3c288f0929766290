"""A model's folder is data: no code that lies in it runs, and a file made to run code is refused in one line."""

from __future__ import annotations

import json
import pickle
import shutil
import struct
from pathlib import Path
from typing import Any

import pytest

from stillhouse.errors import RecipeError
from stillhouse.recipe.teacher import ModelRef

pytest.importorskip("torch")


class Bomb:
    """Pickles to a call."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> Any:
        return Path.touch, (self.target,)


@pytest.fixture
def folder(tiny_model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def load(folder: Path) -> Any:
    from stillhouse.models.loading import load as load_model

    return load_model(ModelRef(model=str(folder)))


def test_weights_in_a_pickle_are_read_as_weights_only(folder: Path, tmp_path: Path) -> None:
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(pickle.dumps({"lm_head.weight": Bomb(tmp_path / "told")}, protocol=2))
    with pytest.raises(RecipeError, match="transformers cannot load"):
        load(folder)
    assert not (tmp_path / "told").exists()


@pytest.mark.parametrize("model_type", ["llama", "mine"])
def test_code_in_a_models_folder_does_not_run_and_nobody_is_asked(
    folder: Path, tmp_path: Path, model_type: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    monkeypatch.setattr("builtins.input", lambda *question: asked.append(question) or "n")
    config = json.loads((folder / "config.json").read_text())
    config["model_type"] = model_type
    config["auto_map"] = {"AutoConfig": "mine.MineConfig", "AutoModelForCausalLM": "mine.Mine"}
    (folder / "config.json").write_text(json.dumps(config))
    tokenizer = json.loads((folder / "tokenizer_config.json").read_text())
    tokenizer["auto_map"] = {"AutoTokenizer": ["mine.MineTokenizer", None]}
    (folder / "tokenizer_config.json").write_text(json.dumps(tokenizer))
    (folder / "mine.py").write_text(f"from pathlib import Path\nPath({str(tmp_path / 'told')!r}).touch()\n")
    if model_type == "llama":
        assert load(folder).model.config.model_type == "llama"
    else:
        with pytest.raises(RecipeError, match="transformers cannot load"):
            load(folder)
    assert asked == [], "transformers asked on the terminal"
    assert not (tmp_path / "told").exists()


@pytest.mark.parametrize(
    "template",
    [
        "{{ cycler.__init__.__globals__.os.system('touch TOLD') }}",
        "{{ ''.__class__.__mro__[1].__subclasses__() }}",
        "{% for m in messages %}{{ m.__class__.__init__.__globals__ }}{% endfor %}",
        "{{ messages.append({'role': 'user', 'content': 'x'}) }}",
        "{% include '/etc/passwd' %}",
    ],
)
def test_a_chat_template_stays_in_its_sandbox(folder: Path, tmp_path: Path, template: str) -> None:
    from stillhouse.models.chat import prompt_text

    tokenizer = load(folder).tokenizer
    tokenizer.chat_template = template.replace("TOLD", str(tmp_path / "told"))
    with pytest.raises((RecipeError, TypeError)) as caught:
        text = prompt_text(tokenizer, [{"role": "user", "content": "q"}])
        assert "root:" not in text
        assert "<class" not in text
        raise RecipeError("rendered harmlessly")
    assert "root:" not in str(caught.value)
    assert not (tmp_path / "told").exists()


def test_content_is_no_template(folder: Path) -> None:
    from stillhouse.models.chat import prompt_text

    tokenizer = load(folder).tokenizer
    content = "{{7*7}} {% for x in y %} {{ cycler.__init__.__globals__ }}"
    assert content in prompt_text(tokenizer, [{"role": "user", "content": content}])


@pytest.mark.parametrize("header", [b"\xff" * 8, struct.pack("<Q", 1 << 62), struct.pack("<Q", 4) + b"nope", b""])
def test_a_damaged_weights_file_is_refused(folder: Path, header: bytes) -> None:
    (folder / "model.safetensors").write_bytes(header)
    with pytest.raises(RecipeError):
        load(folder)
