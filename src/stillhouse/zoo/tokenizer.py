r"""The zoo's one tokenizer: a character a token, with the reasoning marks as single tokens, and a chat template.

It is an ordinary `PreTrainedTokenizerFast`, saved and loaded like any other. It does not know the tasks: every
printable ASCII character has a token (capitals are lowered), and everything else is `<unk>`.
"""

from __future__ import annotations

import string

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers import PreTrainedTokenizerFast

PAD, BOS, USER, ASSISTANT, END, UNK = "<|pad|>", "<|bos|>", "<|user|>", "<|assistant|>", "<|end|>", "<unk>"
SPECIAL_TOKENS = (PAD, BOS, USER, ASSISTANT, END, UNK)
MARKS = ("<think>", "</think>", r"\boxed{")
"""Ordinary text that is one token each: they survive `skip_special_tokens=True`, because verifiers read them."""

CHARACTERS = tuple(string.digits + string.ascii_lowercase + string.punctuation + " \n")
MAX_LENGTH = 512

CHAT_TEMPLATE = (
    "{{ bos_token }}"
    "{% for message in messages %}"
    "{{ '<|assistant|>' if message['role'] == 'assistant' else '<|user|>' }}{{ message['content'] }}{{ eos_token }}"
    "{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def build_tokenizer() -> PreTrainedTokenizerFast:
    """The tokenizer, made from nothing; the same ids every time."""
    vocabulary = {token: index for index, token in enumerate((*SPECIAL_TOKENS, *MARKS, *CHARACTERS))}
    backend = Tokenizer(models.WordLevel(vocabulary, unk_token=UNK))
    backend.normalizer = normalizers.Lowercase()
    backend.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), "isolated")
    backend.decoder = decoders.Fuse()
    backend.add_special_tokens([AddedToken(token, special=True, normalized=False) for token in SPECIAL_TOKENS])
    backend.add_tokens([AddedToken(token, special=False, normalized=False) for token in MARKS])
    return PreTrainedTokenizerFast(
        tokenizer_object=backend,
        pad_token=PAD,
        bos_token=BOS,
        eos_token=END,
        unk_token=UNK,
        extra_special_tokens=[USER, ASSISTANT],
        model_max_length=MAX_LENGTH,
        padding_side="left",
        clean_up_tokenization_spaces=False,
        chat_template=CHAT_TEMPLATE,
    )
