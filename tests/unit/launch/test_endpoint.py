"""Settings that cannot work are told before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest

from stillhouse.errors import RecipeError
from stillhouse.launch.endpoint import CA_ENV, ENDPOINT_ENV, NAMESPACE_ENV, TOKEN_ENV, Endpoint
from stillhouse.launch.placement import Installation


def test_options_go_before_the_environment(token_file: Path) -> None:
    env = {ENDPOINT_ENV: "https://a.example/pipeline/", NAMESPACE_ENV: "ours", TOKEN_ENV: str(token_file)}
    found = Endpoint.from_env(env, namespace="mine", url="")
    assert found == Endpoint("https://a.example/pipeline", "mine", str(token_file))
    assert found.run_url("7") == "https://a.example/pipeline/#/runs/details/7"


def test_links_for_people_may_start_elsewhere() -> None:
    env = {ENDPOINT_ENV: "http://ml-pipeline:8888", "STILLHOUSE_KFP_EXTERNAL_URL": "https://kubeflow.example/"}
    assert Endpoint.from_env(env).run_url("7") == "https://kubeflow.example/#/runs/details/7"


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({}, "no Kubeflow Pipelines is named; set --endpoint or KF_PIPELINES_ENDPOINT"),
        ({ENDPOINT_ENV: "kfp.example:8888"}, "must start with https:// or http://; set .* to https://kfp.example:8888"),
        ({ENDPOINT_ENV: "ftp://kfp.example"}, "to https://kfp.example$"),
        ({ENDPOINT_ENV: "https://"}, "names no host"),
        ({ENDPOINT_ENV: "https://me:word@kfp.example"}, "must hold no user or password"),
        ({ENDPOINT_ENV: "https://kfp", CA_ENV: "/no/such/ca.crt"}, "/no/such/ca.crt: no such file; correct --ca-file"),
        ({ENDPOINT_ENV: "https://kfp", CA_ENV: __file__}, "no certificate in PEM form"),
        ({ENDPOINT_ENV: "https://kfp", TOKEN_ENV: "/no/such/token"}, "/no/such/token: no such token file"),
    ],
)
def test_what_cannot_work_is_refused_in_one_line(env: dict[str, str], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as caught:
        Endpoint.from_env(env)
    assert "\n" not in str(caught.value)
    assert "word@" not in str(caught.value)


def test_an_image_registry_has_no_scheme() -> None:
    with pytest.raises(RecipeError, match=r"STILLHOUSE_IMAGE_REGISTRY.*a registry has no scheme; write r\.example/x"):
        Installation.from_env({"STILLHOUSE_IMAGE_REGISTRY": "https://r.example/x"})
