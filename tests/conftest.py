"""Fixtures that every test may use. Offline and single-threaded by construction."""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] = "1"
os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
os.environ["DO_NOT_TRACK"] = "1"

from pathlib import Path

import pytest

CHAT_TEMPLATE = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>' + m['content'] + '<|end|>' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>' }}{% endif %}"
)


def make_tiny_model(folder: Path, *, seed: int = 0, hidden: int = 32, alphabet: str = "") -> Path:
    """A random two-layer Llama with a character tokenizer and a chat template, saved into ``folder``."""
    import torch
    from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    torch.set_num_threads(1)
    specials = ["<|pad|>", "<|bos|>", "<|end|>", "<|user|>", "<|assistant|>", "<|system|>", "<|unk|>"]
    letters = alphabet or "abcdefghijklmnopqrstuvwxyz0123456789 +-*=.,:;()\\{}<>/?#\n"
    vocabulary = {token: index for index, token in enumerate([*specials, *dict.fromkeys(letters)])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<|unk|>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    core.decoder = decoders.Fuse()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core,
        pad_token="<|pad|>",
        bos_token="<|bos|>",
        eos_token="<|end|>",
        unk_token="<|unk|>",
        additional_special_tokens=["<|user|>", "<|assistant|>", "<|system|>"],
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    torch.manual_seed(seed)
    config = LlamaConfig(
        vocab_size=len(vocabulary),
        hidden_size=hidden,
        intermediate_size=2 * hidden,
        num_hidden_layers=2,
        num_attention_heads=1,
        num_key_value_heads=1,
        max_position_embeddings=256,
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        tie_word_embeddings=True,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a random tiny model; treat it as read-only."""
    return make_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def other_tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Another one with another vocabulary."""
    return make_tiny_model(
        tmp_path_factory.mktemp("models") / "other", seed=1, alphabet="zyxwvutsrqponmlkjihgfedcba9876543210 "
    )


@pytest.fixture(autouse=True)
def _no_ambient_tracking(monkeypatch: pytest.MonkeyPatch) -> None:
    """The developer's own MLflow, workspace and keys never leak into a test."""
    for name in list(os.environ):
        if name.startswith(("MLFLOW_TRACKING", "MLFLOW_RUN", "MLFLOW_EXPERIMENT", "STILLHOUSE_")):
            monkeypatch.delenv(name)


UNSTEADY = (
    "test_a_recipe_is_data_and_small",  # compares with a clock
    "test_an_answer_that_explodes_is_wrong_within_its_time",  # its time limit may strike in a callback
    "test_what_exists_already_is_its_own_error",  # a connection may be closed between two requests
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Known to fail now and then on a busy machine; each goes from this list with its fix."""
    for item in items:
        if any(name in item.nodeid for name in UNSTEADY):
            item.add_marker(pytest.mark.xfail(reason="unsteady on a busy machine", strict=False))
