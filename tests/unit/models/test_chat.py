"""Prompts and examples under templates as they are found in the wild."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from tokenizers import AddedToken, Regex, Tokenizer, models, pre_tokenizers
from tokenizers.decoders import Fuse
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from stillhouse.errors import RecipeError
from stillhouse.models.chat import decode_reply, encode_example, encode_prompt, prompt_text, stop_ids, turn_shape

CHATML = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\n' + m['content'] + '<|im_end|>' + '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
LLAMA3 = (
    "{{ bos_token }}{% for m in messages %}"
    "{{ '<|head|>' + m['role'] + '<|tail|>\n\n' + m['content'] | trim + '<|eot|>' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|head|>assistant<|tail|>\n\n' }}{% endif %}"
)
LLAMA2 = (
    "{% for m in messages %}{% if m['role'] == 'user' %}{{ bos_token + '[INST] ' + m['content'] + ' [/INST]' }}"
    "{% else %}{{ ' ' + m['content'] + ' ' + eos_token }}{% endif %}{% endfor %}"
)
# Strips the thoughts of every assistant turn and gives a turn without any an empty thought, as Qwen3 does.
QWEN3 = (
    "{% for m in messages %}{% set c = m['content'] %}{% if m['role'] == 'assistant' %}"
    "{% if '</think>' in c %}{% set c = c.split('</think>')[-1] %}{% endif %}"
    "{% set c = '<think>\n\n</think>\n\n' + c %}"
    "{% endif %}{{ '<|im_start|>' + m['role'] + '\n' + c + '<|im_end|>\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)
# Opens the thought in the prompt and strips thoughts from assistant turns, as DeepSeek-R1 does.
DEEPSEEK = (
    "{{ bos_token }}{% for m in messages %}{% if m['role'] == 'user' %}{{ '<|user|>' + m['content'] }}{% else %}"
    "{{ '<|assistant|>' + m['content'].split('</think>')[-1] + eos_token }}{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|><think>\n' }}{% endif %}"
)
NAMES = ("im_start", "im_end", "head", "tail", "eot", "user", "assistant")
SPECIALS = ["<s>", "</s>", "<unk>", *(f"<|{name}|>" for name in NAMES)]
MARKS = ["<think>", "</think>"]
ASK = [{"role": "user", "content": "1+1?"}]
REPLY = "<think>1+1=2</think>\\boxed{2}"


def make_tokenizer(
    template: str | None, *, bos: str = "<s>", eos: str = "</s>", pad: str | None = None, marks_special: bool = False
) -> Any:
    """One token per character, plus the special tokens of all templates here; adds no bos by itself."""
    letters = [chr(code) for code in range(32, 127)] + ["\n"]
    vocabulary = {token: index for index, token in enumerate([*SPECIALS, *MARKS, *letters])}
    core = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    core.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    core.decoder = Fuse()
    core.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIALS])
    marks = [AddedToken(token, special=marks_special, normalized=False) for token in MARKS]
    (core.add_special_tokens if marks_special else core.add_tokens)(marks)
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=core, bos_token=bos, eos_token=eos, unk_token="<unk>", pad_token=pad
    )
    if marks_special:
        tokenizer.add_special_tokens({"additional_special_tokens": MARKS})
    tokenizer.chat_template = template
    return tokenizer


def spell(tokenizer: Any, ids: list[int]) -> str:
    return "".join(tokenizer.convert_ids_to_tokens(ids))


@pytest.mark.parametrize(
    ("template", "names", "prompt", "learned"),
    [
        pytest.param(
            CHATML, {}, "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n", REPLY + "<|im_end|>", id="ChatML"
        ),
        pytest.param(
            CHATML,
            {"bos": "<|im_start|>", "eos": "<|im_end|>", "pad": "<|im_end|>"},
            "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n",
            REPLY + "<|im_end|>",
            id="SmolLM2: bos opens turns, eos is pad",
        ),
        pytest.param(
            LLAMA3,
            {},
            "<s><|head|>user<|tail|>\n\n1+1?<|eot|><|head|>assistant<|tail|>\n\n",
            REPLY + "<|eot|>",
            id="Llama 3",
        ),
        pytest.param(LLAMA2, {}, "<s>[INST] 1+1? [/INST]", " " + REPLY + "</s>", id="Llama 2 writes a blank first"),
        pytest.param(
            QWEN3,
            {},
            "<|im_start|>user\n1+1?<|im_end|>\n<|im_start|>assistant\n",
            REPLY + "<|im_end|>",
            id="Qwen3 strips",
        ),
        pytest.param(
            DEEPSEEK,
            {},
            "<s><|user|>1+1?<|assistant|><think>\n",
            "1+1=2</think>\\boxed{2}</s>",
            id="DeepSeek-R1 opens the thought itself",
        ),
        pytest.param(None, {}, "1+1?\n", REPLY + "</s>", id="no template"),
    ],
)
def test_an_example_is_the_prompt_then_the_verified_words_then_the_end_of_turn(
    template: str | None, names: dict[str, str], prompt: str, learned: str
) -> None:
    tokenizer = make_tokenizer(template, **names)
    ids, length = encode_example(tokenizer, ASK, REPLY)
    assert ids[:length] == encode_prompt(tokenizer, ASK)
    assert spell(tokenizer, ids[:length]) == prompt
    assert spell(tokenizer, ids[length:]) == learned


def test_a_reply_without_thoughts_closes_the_thought_that_the_prompt_opened() -> None:
    tokenizer = make_tokenizer(DEEPSEEK)
    ids, length = encode_example(tokenizer, ASK, "\\boxed{2}")
    assert spell(tokenizer, ids[length:]) == "</think>\\boxed{2}</s>"


def test_a_system_message_comes_first_in_the_plain_template_too() -> None:
    tokenizer = make_tokenizer(None)
    assert prompt_text(tokenizer, [{"role": "system", "content": "think"}, *ASK]) == "think\n1+1?\n"


def test_the_plain_template_gets_the_bos_that_its_tokenizer_would_add(tmp_path: Path) -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(None)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    assert spell(tokenizer, encode_prompt(tokenizer, ASK)) == "<s>1+1?\n"


def test_a_template_with_bos_gets_no_second_one_from_the_tokenizer() -> None:
    from tokenizers.processors import TemplateProcessing

    tokenizer = make_tokenizer(LLAMA3)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 0)])
    ids, _ = encode_example(tokenizer, ASK, REPLY)
    assert ids.count(tokenizer.bos_token_id) == 1


def test_training_starts_from_the_prompts_own_ids_even_if_a_merge_crosses_the_border() -> None:
    """With the merge "\\n" + "\\n" the full text has another tokenization than prompt and reply have."""
    vocabulary = {token: index for index, token in enumerate(["</s>", "a", "\n", "\n\n", "b"])}
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=Tokenizer(models.BPE(vocabulary, [("\n", "\n")])), eos_token="</s>"
    )
    ids, length = encode_example(tokenizer, [{"role": "user", "content": "a"}], "\nb")
    assert tokenizer.convert_ids_to_tokens(ids) == ["a", "\n", "\n", "b", "</s>"]
    assert length == 2


def test_a_template_that_refuses_a_role_is_a_clear_error() -> None:
    tokenizer = make_tokenizer("{{ raise_exception('System role not supported') }}")
    with pytest.raises(RecipeError, match=r"refuses the roles system, user.*System role not supported"):
        encode_prompt(tokenizer, [{"role": "system", "content": "think"}, *ASK])


def test_a_changed_template_is_measured_anew() -> None:
    tokenizer = make_tokenizer(CHATML)
    assert turn_shape(tokenizer).end_id == SPECIALS.index("<|im_end|>")
    tokenizer.chat_template = LLAMA3
    assert turn_shape(tokenizer).end_id == SPECIALS.index("<|eot|>")


class _Configured:
    def __init__(self, eos_token_id: Any) -> None:
        self.eos_token_id = eos_token_id


@pytest.mark.parametrize(("configured", "expected"), [(None, {1, 4}), (7, {1, 4, 7}), ([2, 7], {1, 2, 4, 7})])
def test_a_reply_ends_at_eos_at_the_configured_tokens_and_at_the_templates_end_of_turn(
    configured: Any, expected: set[int]
) -> None:
    assert stop_ids(make_tokenizer(CHATML), _Configured(configured)) == expected


@pytest.mark.parametrize("marks_special", [False, True])
def test_think_tags_survive_decoding_even_when_they_are_special_tokens(marks_special: bool) -> None:
    tokenizer = make_tokenizer(CHATML, marks_special=marks_special)
    ids = tokenizer.encode(REPLY + "<|im_end|>", add_special_tokens=False)
    assert decode_reply(tokenizer, ids) == REPLY


def test_a_thought_opened_by_the_prompt_is_opened_in_the_reply() -> None:
    tokenizer = make_tokenizer(DEEPSEEK)
    ids = tokenizer.encode("1+1", add_special_tokens=False)
    assert decode_reply(tokenizer, ids, prompt_text(tokenizer, ASK)) == "<think>1+1"


def test_the_shared_tiny_model_round_trips(tiny_model: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    ids, length = encode_example(tokenizer, ASK, "two")
    assert spell(tokenizer, ids) == "<|user|>1+1?<|end|><|assistant|>two<|end|>"
    assert spell(tokenizer, ids[length:]) == "two<|end|>"
