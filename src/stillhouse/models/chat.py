"""Messages to token ids, and back: the one place that knows chat templates.

A prompt is what the model's template makes of the messages, ready for the assistant's turn. An example is that
very prompt, the reply word for word, and the token that ends the assistant's turn. The template is never asked to
render the reply itself, because templates strip thoughts (DeepSeek-R1), add empty ones (Qwen3) or trim: the student
would learn other words than those that were verified. A tokenizer without a template gets ``PLAIN``: each message on
a line of its own. Knows nothing of training or of problems.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from jinja2 import TemplateError

from stillhouse.errors import RecipeError
from stillhouse.models.requests import Message
from stillhouse.reasoning import TAGS

PLAIN = "{% for message in messages %}{{ message['content'] }}\n{% endfor %}"
"""Template of tokenizers that have none: the messages, a newline after each."""
_OPEN, _CLOSE = "<think>", "</think>"
_SENTINEL = "REPLY"


@dataclass(frozen=True, slots=True)
class TurnShape:
    """What stands around an assistant's reply: white space before it, the token that ends it, tokens not to show."""

    lead: str
    end_id: int
    hidden_ids: frozenset[int]


_shapes: WeakKeyDictionary[Any, tuple[str | None, TurnShape]] = WeakKeyDictionary()


def prompt_text(tokenizer: Any, messages: Sequence[Message]) -> str:
    """The prompt as text, ending where the assistant's reply begins."""
    return _render(tokenizer, messages, generate=True)


def encode_prompt(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Token ids of the prompt, special tokens of the template included and none added twice."""
    return _encode_text(tokenizer, prompt_text(tokenizer, messages))


def encode_example(tokenizer: Any, messages: Sequence[Message], reply: str) -> tuple[list[int], int]:
    """Token ids of prompt, reply and end of turn, and the length of the prompt.

    The first ``prompt_length`` ids equal ``encode_prompt``; the loss belongs to all that follow, the last of which
    is the end-of-turn token. Where the template's prompt opens a thought itself (``…<think>``), the reply's own opening
    tag is dropped, and a reply without thoughts closes the thought at once.
    """
    prompt = prompt_text(tokenizer, messages)
    prompt_ids = _encode_text(tokenizer, prompt)
    shape = turn_shape(tokenizer)
    words = shape.lead + _continue(prompt, reply)
    ids = _encode_text(tokenizer, prompt + words)
    if ids[: len(prompt_ids)] != prompt_ids or len(ids) == len(prompt_ids):
        # A merge across the border (or a tokenizer that is not a function of prefixes): generation starts from the
        # prompt's own ids, so training must too.
        ids = prompt_ids + tokenizer.encode(words, add_special_tokens=False)
    return [*ids, shape.end_id], len(prompt_ids)


def turn_shape(tokenizer: Any) -> TurnShape:
    """How the tokenizer's template surrounds a reply; end-of-sequence ends the turn where it has no token for that."""
    template = tokenizer.chat_template if isinstance(tokenizer.chat_template, str) else None
    known = _shapes.get(tokenizer)
    if known is None or known[0] != template:
        known = (template, _measure_shape(tokenizer))
        _shapes[tokenizer] = known
    return known[1]


def stop_ids(tokenizer: Any, generation_config: Any = None) -> set[int]:
    """All tokens that end a reply: the tokenizer's, the generation config's (one or several) and the template's."""
    configured = getattr(generation_config, "eos_token_id", None)
    several = configured if isinstance(configured, (list, tuple)) else [configured]
    found = {tokenizer.eos_token_id, turn_shape(tokenizer).end_id, *several}
    return {int(token) for token in found if token is not None}


def decode_reply(tokenizer: Any, ids: Sequence[int], prompt: str = "") -> str:
    """Text of a reply: special tokens are left out, think tags are kept even where a tokenizer calls them special.

    When ``prompt`` opened a thought, the opening tag is put back, so that the text can be read on its own.
    """
    hidden = turn_shape(tokenizer).hidden_ids
    text = str(tokenizer.decode([token for token in ids if token not in hidden], skip_special_tokens=False))
    return _OPEN + text if opens_thought(prompt) else text


def opens_thought(prompt: str) -> bool:
    """Whether the template's prompt ends with an opened thought."""
    return prompt.rstrip().endswith(_OPEN)


def _continue(prompt: str, reply: str) -> str:
    """The part of ``reply`` that is still to be said after ``prompt``."""
    if not opens_thought(prompt):
        return reply
    return reply.removeprefix(_OPEN) if reply.startswith(_OPEN) else _CLOSE + reply


def _render(tokenizer: Any, messages: Sequence[Message], *, generate: bool) -> str:
    template = None if tokenizer.chat_template else PLAIN
    try:
        text = tokenizer.apply_chat_template(
            list(messages), chat_template=template, tokenize=False, add_generation_prompt=generate
        )
    except TemplateError as error:
        roles = ", ".join(message["role"] for message in messages)
        raise RecipeError(
            f"chat template of {tokenizer.name_or_path}: refuses the roles {roles} ({error}); "
            "a template that knows no system role needs an empty traces.prompter.system"
        ) from error
    return str(text)


def _encode_text(tokenizer: Any, text: str) -> list[int]:
    """Ids of a rendered prompt. A template writes its own special tokens; ``PLAIN`` cannot: its bos is added here."""
    ids: list[int] = tokenizer.encode(text, add_special_tokens=False)
    starts_with_bos = not tokenizer.chat_template and tokenizer.encode("")[:1] == [tokenizer.bos_token_id]
    return [tokenizer.bos_token_id, *ids] if starts_with_bos else ids


def _measure_shape(tokenizer: Any) -> TurnShape:
    """Render one exchange and look at what stands around the reply."""
    end_id, lead = tokenizer.eos_token_id, ""
    if tokenizer.chat_template:
        question: list[Message] = [{"role": "user", "content": "x"}]
        prompt = _render(tokenizer, question, generate=True)
        whole = _render(tokenizer, [*question, {"role": "assistant", "content": _SENTINEL}], generate=False)
        start = whole.rfind(_SENTINEL)
        before = whole[len(prompt) : start] if whole.startswith(prompt) else ""
        lead = before if before.isspace() else ""
        marks = {token_id for token_id, token in tokenizer.added_tokens_decoder.items() if token.content.strip()}
        tail = tokenizer.encode(whole[start + len(_SENTINEL) :], add_special_tokens=False) if start >= 0 else []
        end_id = next((token for token in tail if token in marks), end_id)
    if end_id is None:
        raise RecipeError(f"tokenizer {tokenizer.name_or_path}: has no token that ends a reply; set its eos_token")
    return TurnShape(lead, int(end_id), _hidden_ids(tokenizer))


def _hidden_ids(tokenizer: Any) -> frozenset[int]:
    """Special tokens by name or by flag (a template's own often have the flag only), without the think tags."""
    named = zip(tokenizer.all_special_ids, tokenizer.all_special_tokens, strict=True)
    flagged = ((key, token.content) for key, token in tokenizer.added_tokens_decoder.items() if token.special)
    return frozenset(token_id for token_id, text in (*named, *flagged) if text not in TAGS)
