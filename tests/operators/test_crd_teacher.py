"""What a TeacherServer may say: the generated schema with its CEL rules, and the model, agree on a table of specs."""

from __future__ import annotations

from typing import Any

import kubernetes_validate
import pytest

from operators.crds.base import parse
from operators.crds.teacher import FIELD_OF, KIND, TeacherServerSpec
from stillhouse.errors import RecipeError
from tests.operators.crd_check import accepts, with_defaults

COMMIT = "0123456789abcdef0123456789abcdef01234567"
HF: dict[str, Any] = {"model": "hf://Qwen/Qwen3-32B"}
S3: dict[str, Any] = {"model": "s3://weights/qwen/32b", "secrets": {"s3": "s3-secret"}}
PVC: dict[str, Any] = {"model": "pvc://models/qwen"}
CPU_TRIGGER = {"type": "cpu", "metadata": {"value": "80"}}

GOOD = [
    pytest.param(HF, id="a model is enough"),
    pytest.param({**HF, "revision": COMMIT}, id="a commit"),
    pytest.param({"model": "hf://gpt2"}, id="a model without an organisation"),
    pytest.param(S3, id="s3"),
    pytest.param(PVC, id="pvc"),
    pytest.param({"model": "pvc://models"}, id="a whole claim"),
    pytest.param({**HF, "args": ["--max-num-seqs", "64", "--model-impl=transformers"]}, id="more arguments"),
    pytest.param({**HF, "resources": {"requests": {"cpu": 4, "memory": "64Gi"}}}, id="a quantity may be a number"),
    pytest.param({**HF, "accelerator": {"type": "amd.com/gpu", "count": 8}}, id="another accelerator"),
    pytest.param({**HF, "accelerator": {"count": 0}, "env": {"VLLM_CPU_KVCACHE_SPACE": "4"}}, id="none, on a CPU"),
    pytest.param({**HF, "autoscaling": {"type": "hpa", "minReplicas": 1, "maxReplicas": 4}}, id="hpa"),
    pytest.param({**HF, "autoscaling": {"type": "keda", "triggers": [CPU_TRIGGER]}}, id="keda"),
    pytest.param({**HF, "scaleToZero": {"enabled": False}}, id="always on"),
    pytest.param({**HF, "scaleToZero": {"idleSeconds": 0}}, id="gone at once"),
    pytest.param({**HF, "suspend": True, "startupDeadlineSeconds": 60}, id="suspended"),
    pytest.param({**HF, "cache": {"claim": "hf-cache", "path": "hub"}}, id="cache"),
    pytest.param({**HF, "tolerations": [{"operator": "Exists"}]}, id="toleration"),
]  # fmt: skip
BAD = [
    pytest.param({}, "model", id="no model"),
    pytest.param({"model": "Qwen/Qwen3-32B"}, "model", id="no scheme"),
    pytest.param({"model": "https://host/x"}, "model", id="another scheme"),
    pytest.param({"model": "pvc://models/../etc"}, "model", id="a way out of the claim"),
    pytest.param({"model": "s3://bucket", "secrets": {"s3": "x"}}, "model", id="a bucket without a path"),
    pytest.param({"model": "s3://weights/qwen"}, "secrets.s3", id="s3 without a secret"),
    pytest.param({**PVC, "revision": COMMIT}, "revision is a commit", id="revision of a claim"),
    pytest.param({**HF, "revision": "main"}, "revision", id="a branch is no commit"),
    pytest.param({**HF, "modle": "x"}, "modle", id="a typo"),
    pytest.param({**HF, "replicas": 0}, "replicas", id="no replicas"),
    pytest.param({**HF, "dtype": "int4"}, "dtype", id="unknown dtype"),
    pytest.param({**HF, "env": {"HF_TOKEN": "hf_x"}}, "come from Secrets", id="an inline token"),
    pytest.param({**HF, "env": {"VLLM_API_KEY": "k"}}, "come from Secrets", id="an inline key"),
    pytest.param({**HF, "autoscaling": {"minReplicas": 3, "maxReplicas": 2}}, "at most maxReplicas", id="bounds"),
    pytest.param({**HF, "autoscaling": {"type": "keda"}}, "at least one of triggers", id="keda without triggers"),
    pytest.param({**HF, "probe": {"prompt": ""}}, "prompt", id="an empty prompt"),
    pytest.param({**HF, "startupDeadlineSeconds": 1}, "startupDeadlineSeconds", id="no time to start"),
    pytest.param({**HF, "secrets": {"apiKey": "Not_A_Name"}}, "apiKey", id="no name"),
    *(pytest.param({**HF, "args": [f"--{flag}", "x"]}, "args", id=f"--{flag}") for flag in FIELD_OF),
    *(
        pytest.param({**HF, "args": [arg]}, "args", id=arg)
        for arg in ("--host=::", "--served_model_name=x", "-port", "--api_key=sk")
    ),
]


@pytest.mark.parametrize("spec", GOOD)
def test_a_good_spec_is_accepted_by_schema_and_model(spec: dict[str, Any]) -> None:
    assert accepts(KIND, spec, metadata={"name": "qwen-32b"}) == []
    parsed = parse(TeacherServerSpec, {"spec": spec})
    assert parse(TeacherServerSpec, {"spec": with_defaults(KIND, spec)}) == parsed


@pytest.mark.parametrize(("spec", "words"), BAD)
def test_a_bad_spec_is_refused_by_schema_and_model_and_its_field_is_named(spec: dict[str, Any], words: str) -> None:
    assert any(words in line for line in accepts(KIND, spec)), accepts(KIND, spec)
    with pytest.raises(RecipeError) as caught:
        parse(TeacherServerSpec, {"spec": spec})
    assert words in str(caught.value)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({**HF, "args": ["--hos", "::"]}, "--host is set by the operator; remove it"),
        ({**HF, "args": ["--api-k", "x"]}, "use spec.secrets.apiKey"),
        ({**HF, "resources": {"limits": {"memoy": "4Gi"}}}, "did you mean memory?"),
        ({**HF, "sharedMemory": "lots"}, "sharedMemory"),
        ({**HF, "env": {"A B": "x"}}, "no name of a variable"),
        ({**HF, "imagePullSecrets": [""]}, "an empty name"),
    ],
)
def test_what_a_schema_cannot_see_is_refused_by_the_model(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(RecipeError, match=words.replace(".", r"\.").replace("?", r"\?")):
        parse(TeacherServerSpec, {"spec": spec})


@pytest.mark.parametrize(("name", "good"), [("qwen-32b", True), ("9b", False), ("a.b", False), ("a" * 64, False)])
def test_the_name_must_be_one_of_a_service(name: str, good: bool) -> None:
    assert bool(accepts(KIND, HF, metadata={"name": name})) is not good


@pytest.mark.parametrize("version", ["1.33", "1.34", "1.35", "1.36"])
def test_the_definition_is_valid(version: str) -> None:
    kubernetes_validate.validate(KIND.definition(), version, strict=True)
