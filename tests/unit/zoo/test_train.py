"""The training script: what it feeds the models, and that a seed decides everything."""

from __future__ import annotations

import math
import re
from dataclasses import replace

import pytest
import torch

from stillhouse.zoo import __main__ as script
from stillhouse.zoo.corpus import DRILL_PROMPT, base_corpus, teacher_corpus
from stillhouse.zoo.measure import Score, boxed, model_card, score
from stillhouse.zoo.tasks import split_of
from stillhouse.zoo.tokenizer import build_tokenizer
from stillhouse.zoo.train import (
    IGNORED,
    SPECS,
    Schedule,
    build_model,
    collate,
    corpus_of,
    encode,
    fit,
    learning_rate,
    save_model,
    train_model,
    with_seed,
)

DRILL = DRILL_PROMPT.partition(":")[0]


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer()


@pytest.fixture(autouse=True)
def one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def test_the_base_sees_more_than_one_step_only_in_drills_of_unrelated_facts():
    replies = [reply for prompt, reply in base_corpus(0) if not prompt.startswith(DRILL)]
    assert replies
    assert not [reply for reply in replies if ";" in reply or reply.count(">") > 3]


@pytest.mark.parametrize("name", SPECS)
def test_models_train_on_the_train_split_only(name):
    prompts = {prompt for prompt, _ in corpus_of(SPECS[name]) if not prompt.startswith(DRILL)}
    assert prompts
    assert {split_of(prompt) for prompt in prompts} == {"train"}


def test_teachers_solve_the_same_problems_each_in_its_style():
    terse, wordy = teacher_corpus("terse"), teacher_corpus("wordy")
    assert [prompt for prompt, _ in terse] == [prompt for prompt, _ in wordy]
    assert "check" in wordy[0][1]
    assert "check" not in terse[0][1]


def test_only_the_reply_and_its_end_are_learned(tokenizer):
    short, long = encode([("3+4", r"\boxed{7}"), ("3+4", r"<think>3+4=7</think>\boxed{7}")], tokenizer)
    ids, labels = collate([short, long], tokenizer.pad_token_id)
    assert tokenizer.decode(ids[0]) == r"<|bos|><|user|>3+4<|end|><|assistant|>\boxed{7}<|end|>" + "<|pad|>" * 7
    assert tokenizer.decode(labels[0][labels[0] != IGNORED]) == r"\boxed{7}<|end|>"
    assert tokenizer.decode(labels[1][labels[1] != IGNORED]) == r"<think>3+4=7</think>\boxed{7}<|end|>"


@pytest.mark.parametrize(("step", "share"), [(0, 0.1), (4, 0.5), (50, 0.5), (99, 0.0)])
def test_the_rate_rises_and_then_falls_along_a_cosine(step, share):
    schedule = Schedule(num_steps=100, learning_rate=1.0, warmup_steps=10)
    assert learning_rate(schedule, step) == pytest.approx(share, abs=0.01)


def test_the_first_loss_is_that_of_a_uniform_guess(tokenizer):
    spec = SPECS["base"]
    examples = encode(corpus_of(spec)[:64], tokenizer)
    (loss,) = fit(build_model(spec, tokenizer), examples, spec.schedule, stop_after=1)
    assert loss == pytest.approx(math.log(len(tokenizer)), abs=0.7)


def test_the_same_seed_gives_the_same_corpus():
    assert base_corpus(0) == base_corpus(0)


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(monkeypatch):
    few = base_corpus(0)[:300]
    monkeypatch.setattr("stillhouse.zoo.train.corpus_of", lambda spec: few)

    def weights(spec):
        return torch.nn.utils.parameters_to_vector(train_model(spec, stop_after=3).parameters())

    spec = SPECS["base"]
    assert torch.equal(weights(spec), weights(spec))
    assert not torch.equal(weights(spec), weights(with_seed(spec, 99)))


def test_the_script_writes_a_folder_that_is_a_model_with_its_card(tmp_path, monkeypatch):
    tiny = replace(SPECS["base"], schedule=Schedule(num_steps=2, batch_size=4))
    monkeypatch.setitem(SPECS, "base", tiny)
    monkeypatch.setattr("stillhouse.zoo.measure.CARD_PROBLEMS", {"chain": 2, "swap": 2, "facts": 2})
    monkeypatch.setattr("stillhouse.zoo.measure.MAX_NEW_TOKENS", 8)
    monkeypatch.setattr("stillhouse.zoo.train.corpus_of", lambda spec: [("3+4", r"\boxed{7}")])
    assert script.main(["--only", "base", "--out", str(tmp_path)]) == 0
    written = {path.name for path in (tmp_path / "base").iterdir()}
    assert {"config.json", "generation_config.json", "model.safetensors", "tokenizer.json", "README.md"} <= written


@pytest.mark.parametrize(("statuses", "status"), [((0, 0, 0, 0), 0), ((0, 3, 0, 0), 3)])
def test_the_script_trains_all_and_fails_when_one_fails(monkeypatch, tmp_path, statuses, status):
    left = iter(statuses)
    monkeypatch.setattr(script, "_spawn", lambda name, out: next(left))
    assert script.main(["--out", str(tmp_path), "--jobs", "1"]) == status


@pytest.mark.parametrize(
    ("text", "answer"),
    [(r"<think>\boxed{1}</think>\boxed{42}", "42"), ("42", None), (r"\boxed{42", None), (r"\boxed{}", "")],
)
def test_the_last_box_is_the_answer(text, answer):
    assert boxed(text) == answer


def test_a_card_shows_what_was_measured():
    card = model_card(SPECS["terse"], [Score("chain", 0.7, 0.985, 41.04, 1.0)])
    assert "| chain | 0.7 | 98.5 % | 41.0 | 100.0 % |" in card
    assert re.match(r"---\nlicense: apache-2.0\n", card)


@pytest.mark.slow
def test_the_base_can_be_trained_again_to_its_promise(tmp_path, tokenizer):
    model = train_model(SPECS["base"])
    save_model(model, tmp_path)
    assert score(model, tokenizer, "facts", 128).accuracy >= 0.95
    assert score(model, tokenizer, "chain", 128).accuracy <= 0.2
