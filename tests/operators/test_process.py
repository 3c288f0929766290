"""The operator as a process: settings, logs, health, metrics, and what it keeps in memory."""

from __future__ import annotations

import asyncio
import json
import logging
import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from operators import app, command, health, logs
from operators.metrics import Metrics
from operators.settings import Settings
from stillhouse.errors import RecipeError, TransientError

ROOT = Path(__file__).parents[2]
IDLE_MIB = 150


def test_the_idle_operator_holds_neither_torch_nor_kfp_and_stays_small() -> None:
    code = (
        "import sys, operators.app as app\n"
        "app.registry(); app.kopf_settings(app.Settings())\n"
        "heavy = {'torch', 'kfp', 'kfp_server_api', 'mlflow', 'transformers', 'vllm', 'pandas'}\n"
        "peak = open('/proc/self/status').read().split('VmHWM:')[1].split()[0]\n"
        "print(sorted(heavy & set(sys.modules)), int(peak) // 1024)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    loaded, mib = done.stdout.rsplit(" ", 1)
    assert loaded == "[]"
    assert int(mib) < IDLE_MIB


def test_the_entry_point_says_its_version_without_a_cluster() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "operators", "--version"], cwd=ROOT, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0
    assert done.stdout.strip()


@pytest.mark.parametrize(
    ("env", "words"),
    [
        ({"STILLHOUSE_RESYNC_S": "soon"}, "must be a number"),
        ({"STILLHOUSE_HEALTH_PORT": "-1"}, "must be above 0"),
        ({"STILLHOUSE_LOG_FORMAT": "xml"}, "json or plain"),
    ],
)
def test_a_setting_that_is_none_is_refused_by_name(env: dict[str, str], words: str) -> None:
    with pytest.raises(RecipeError, match=words) as told:
        Settings.from_env(env)
    assert next(iter(env)) in str(told.value)


def test_settings_come_from_the_environment() -> None:
    settings = Settings.from_env(
        {"STILLHOUSE_WATCH_NAMESPACES": "a, b", "KF_PIPELINES_ENDPOINT": "http://kfp:8888/", "STILLHOUSE_RESYNC_S": "5"}
    )
    assert (settings.watch_namespaces, settings.kfp_endpoint, settings.resync_s) == (("a", "b"), "http://kfp:8888", 5.0)


def test_a_rotated_token_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "token"
    settings = Settings(kfp_token_path=str(path))
    for token in ("first", "second"):
        path.write_text(token + "\n", encoding="utf-8")
        assert settings.kfp_token() == token


def test_with_peering_replicas_take_turns_and_without_it_one_stands_alone() -> None:
    alone, peered = (app.kopf_settings(Settings(peering=name)) for name in ("", "stillhouse"))
    assert alone.peering.standalone
    assert (peered.peering.name, peered.peering.mandatory, peered.peering.standalone) == ("stillhouse", True, False)
    assert peered.peering.priority != app.kopf_settings(Settings(peering="stillhouse")).peering.priority


@pytest.mark.parametrize(
    ("text", "kept", "gone"),
    [
        ("Authorization: Bearer abcdefghijkl", "Authorization: Bearer ***", "abcdefghijkl"),
        ("api_key=sk-12345678 failed", "failed", "sk-12345678"),
        ('{"password": "hunter22"}', "password", "hunter22"),
        ("postgresql://mlflow:hunter22@db:5432/mlflow", "@db:5432/mlflow", "hunter22"),
        ("token eyJhbGciOiJSUzI1.eyJzdWIiOiJ4.c2ln in it", "in it", "eyJhbGciOiJSUzI1"),
        ("12 tokens: fine", "12 tokens: fine", "***"),
    ],
)
def test_logs_carry_no_secrets(text: str, kept: str, gone: str) -> None:
    record = logging.LogRecord("x", logging.INFO, "f", 1, text, None, None)
    row = json.loads(logs.Json().format(record))
    assert kept in row["message"]
    assert gone not in row["message"]
    assert gone not in logs.Plain().format(record)


def test_a_logged_exception_carries_no_secrets() -> None:
    try:
        raise ValueError("Bearer abcdefghijkl")
    except ValueError:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "failed", None, sys.exc_info())
    assert "abcdefghijkl" not in logs.Json().format(record)


def test_health_readiness_and_metrics_are_served() -> None:
    async def story() -> None:
        ready, metrics = asyncio.Event(), Metrics()
        metrics.reconciled("DistillationRun", "ok", 0.1)
        async with (
            health.serve(ready.is_set, metrics, health_port=0, metrics_port=0) as (port, numbers),
            httpx.AsyncClient() as client,
        ):
            assert (await client.get(f"http://127.0.0.1:{port}/healthz")).status_code == 200
            assert (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 503
            ready.set()
            assert (await client.get(f"http://127.0.0.1:{port}/readyz")).status_code == 200
            text = (await client.get(f"http://127.0.0.1:{numbers}/metrics")).text
        assert 'stillhouse_operator_reconciles_total{kind="DistillationRun",outcome="ok"} 1.0' in text

    asyncio.run(story())


def test_a_command_answers_in_json() -> None:
    rows = asyncio.run(command.stillhouse("methods"))
    assert rows


def test_a_refused_command_is_the_users_error_and_a_hanging_one_is_not() -> None:
    with pytest.raises(RecipeError, match="no-such-recipe"):
        asyncio.run(command.stillhouse("run", "no-such-recipe.yaml", "--dry-run"))
    with pytest.raises(TransientError, match="longer than"):
        asyncio.run(command.stillhouse("methods", timeout_s=0.001))
