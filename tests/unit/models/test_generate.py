"""Decoding with a real tiny model: batch mates, padding, stops, counts."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers

from stillhouse.models.chat import encode_prompt
from stillhouse.models.generate import generate
from stillhouse.models.loading import LoadedModel, load
from stillhouse.models.requests import ChatRequest, Reply
from stillhouse.recipe.teacher import ModelRef, Sampling

WARM = Sampling(temperature=1.0, top_p=0.95, max_tokens=20)
GREEDY = Sampling(temperature=0.0, max_tokens=20)


@pytest.fixture(scope="module")
def loaded(tiny_model: Path) -> LoadedModel:
    """Sharper than a random model, and with a head of its own: a tied one repeats its last token for ever."""
    found = load(ModelRef(model=str(tiny_model)), device="cpu")
    torch.manual_seed(5)
    with torch.no_grad():
        for weights in found.model.parameters():
            weights.mul_(4 if weights.dim() > 1 else 1)
        found.model.lm_head.weight = torch.nn.Parameter(torch.randn_like(found.model.lm_head.weight) * 0.5)
    return found


def requests_of(count: int, offset: int = 0) -> list[ChatRequest]:
    texts = ["a1b2+" * (1 + index * 7 % 5) + str(index) for index in range(offset, offset + count)]
    return [
        ChatRequest(f"k{index:03d}", ({"role": "user", "content": text},), seed=index)
        for index, text in enumerate(texts, start=offset)
    ]


def ask(loaded: LoadedModel, requests: Sequence[ChatRequest], sampling: Sampling, size: int) -> dict[str, Reply]:
    return {reply.key: reply for batch in generate(loaded, requests, sampling, size) for reply in batch}


@pytest.mark.parametrize("sampling", [WARM, GREEDY, Sampling(temperature=1.5, top_p=1.0, top_k=5, max_tokens=20)])
def test_a_request_gets_the_same_reply_whoever_shares_its_batch(loaded: LoadedModel, sampling: Sampling) -> None:
    requests = requests_of(12)
    alone, together = ask(loaded, requests, sampling, 1), ask(loaded, requests, sampling, 12)
    others = ask(loaded, [*requests_of(10, offset=12), *requests[:6]], sampling, 7)
    assert together == alone
    assert all(others[request.key] == alone[request.key] for request in requests[:6])
    assert len({reply.text for reply in alone.values()}) > 6


def test_the_same_requests_in_any_order_give_the_same_batches(loaded: LoadedModel) -> None:
    requests = requests_of(10)
    batches = list(generate(loaded, requests, WARM, 4))
    assert list(generate(loaded, requests[::-1], WARM, 4)) == batches
    assert [len(batch) for batch in batches] == [4, 4, 2]


def test_leaving_out_whole_batches_leaves_the_others_as_they_were(loaded: LoadedModel) -> None:
    requests = requests_of(11)
    batches = list(generate(loaded, requests, WARM, 3))
    done = {reply.key for batch in (batches[0], batches[2]) for reply in batch}
    rest = [request for request in requests if request.key not in done]
    assert list(generate(loaded, rest, WARM, 3)) == [batches[1], batches[3]]


def test_longest_prompts_come_first(loaded: LoadedModel) -> None:
    lengths = [[reply.prompt_tokens for reply in batch] for batch in generate(loaded, requests_of(9), GREEDY, 3)]
    flat = [length for batch in lengths for length in batch]
    assert flat == sorted(flat, reverse=True)
    assert flat[0] > flat[-1]


def test_another_seed_gives_another_reply_and_greedy_does_not_care(loaded: LoadedModel) -> None:
    request = requests_of(1)[0]
    twin = dataclasses.replace(request, key="twin", seed=99)
    warm, greedy = ask(loaded, [request, twin], WARM, 2), ask(loaded, [request, twin], GREEDY, 2)
    assert warm["twin"].text != warm[request.key].text
    assert greedy["twin"].text == greedy[request.key].text


def test_a_cold_draw_is_nearly_greedy_and_a_warm_one_is_not(loaded: LoadedModel) -> None:
    requests = requests_of(16)
    greedy = ask(loaded, requests, GREEDY, 16)
    cold = ask(loaded, requests, Sampling(temperature=0.01, top_p=1.0, max_tokens=20), 16)
    warm = ask(loaded, requests, Sampling(temperature=2.0, top_p=1.0, max_tokens=20), 16)
    same = [sum(other[key].text == greedy[key].text for key in greedy) for other in (cold, warm)]
    assert same[0] >= 15
    assert same[1] <= 4


def test_the_model_draws_tokens_as_often_as_it_says(loaded: LoadedModel) -> None:
    """First tokens of many seeds against the model's own distribution."""
    prompt = ({"role": "user", "content": "a1"},)
    sampling = Sampling(temperature=2.0, top_p=1.0, max_tokens=1)
    requests = [ChatRequest(str(seed), prompt, seed) for seed in range(2000)]
    texts = [reply.text for reply in ask(loaded, requests, sampling, 500).values()]
    ids = torch.tensor([encode_prompt(loaded.tokenizer, prompt)])
    shares = (loaded.model(ids).logits[0, -1].detach() / 2.0).softmax(-1)
    token = int(shares[7:].argmax()) + 7
    share = float(shares[token])
    assert 0.05 < share < 0.95
    observed = texts.count(loaded.tokenizer.decode([token])) / len(texts)
    assert observed == pytest.approx(share, abs=4 * (share * (1 - share) / len(texts)) ** 0.5)


def test_a_reply_ends_with_stop_or_with_length_and_counts_its_own_tokens(
    loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    ends = [loaded.tokenizer.eos_token_id, *loaded.tokenizer.convert_tokens_to_ids(list("defg"))]
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", ends)
    replies = ask(loaded, requests_of(40), Sampling(temperature=2.0, top_p=1.0, max_tokens=12), 40)
    stopped = [reply for reply in replies.values() if reply.finish_reason == "stop"]
    cut = [reply for reply in replies.values() if reply.finish_reason == "length"]
    assert stopped
    assert cut
    assert all(reply.completion_tokens == 12 for reply in cut)
    # One character a token; special tokens and the end are not shown, the end is counted.
    assert all(len(reply.text) <= reply.completion_tokens - 1 for reply in stopped)
    assert not any(letter in reply.text for reply in replies.values() for letter in "defg")
    assert any(reply.completion_tokens < 12 for reply in stopped)


def test_generation_stops_at_every_configured_end(loaded: LoadedModel, monkeypatch: pytest.MonkeyPatch) -> None:
    requests = requests_of(12)
    texts = ask(loaded, requests, GREEDY, 12)
    first = texts["k000"].text[0]
    end = loaded.tokenizer.convert_tokens_to_ids(first)
    monkeypatch.setattr(loaded.model.generation_config, "eos_token_id", [loaded.tokenizer.eos_token_id, end])
    reply = ask(loaded, requests, GREEDY, 12)["k000"]
    assert (reply.finish_reason, reply.completion_tokens) == ("stop", 1)


def test_a_prompt_beyond_the_context_is_a_failed_sample_and_a_long_one_gets_what_room_there_is(
    loaded: LoadedModel,
) -> None:
    def request(key: str, length: int) -> ChatRequest:
        return ChatRequest(key, ({"role": "user", "content": "a" * length},), 0)

    context = loaded.context
    assert context == 256
    room = Sampling(temperature=0.0, max_tokens=500)
    replies = ask(loaded, [request("long", context - 3 - 5), request("over", context), request("ok", 4)], room, 3)
    assert replies["over"].error == "prompt of 259 tokens leaves no room in a context of 256"
    assert replies["over"].finish_reason == "error"
    assert 1 <= replies["long"].completion_tokens <= 5
    assert not replies["ok"].error


def test_nothing_asked_is_nothing_said(loaded: LoadedModel) -> None:
    assert list(generate(loaded, [], WARM, 4)) == []


COMMON = {
    "hidden_size": 32, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
    "num_key_value_heads": 1, "max_position_embeddings": 128, "pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
ARCHITECTURES = {
    "Qwen3": lambda size: transformers.Qwen3Config(vocab_size=size, head_dim=16, **COMMON),
    "Mistral, sliding window": lambda size: transformers.MistralConfig(vocab_size=size, sliding_window=8, **COMMON),
    "Gemma 3, mixed windows": lambda size: transformers.Gemma3TextConfig(
        vocab_size=size, head_dim=16, sliding_window=8, **COMMON
    ),
    "GPT-2, learned positions": lambda size: transformers.GPT2Config(
        vocab_size=size, n_positions=128, n_embd=32, n_layer=2, n_head=2, bos_token_id=1, eos_token_id=2
    ),
}


@pytest.mark.parametrize("name", ARCHITECTURES)
def test_a_left_padded_batch_says_what_transformers_says_one_by_one(name: str, loaded: LoadedModel) -> None:
    model = _random_model(ARCHITECTURES[name](loaded.model.config.vocab_size))
    other = dataclasses.replace(loaded, model=model)
    requests = requests_of(6)
    got = ask(other, requests, GREEDY, 6)
    for request in requests:
        ids = torch.tensor([encode_prompt(loaded.tokenizer, request.messages)])
        options = {"max_new_tokens": 20, "do_sample": False, "pad_token_id": 0}
        expected = model.generate(input_ids=ids, attention_mask=torch.ones_like(ids), **options)[0, ids.shape[1] :]
        assert got[request.key].text == loaded.tokenizer.decode(expected, skip_special_tokens=True)


def _random_model(config: Any) -> Any:
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config).eval()
    with torch.no_grad():
        for weights in model.parameters():
            weights.mul_(3 if weights.dim() > 1 else 1)
    model.generation_config.eos_token_id = 2
    return model
