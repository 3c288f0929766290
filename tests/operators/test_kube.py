"""The Kubernetes edge: what each failed call means, and that nothing is ever made twice."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import kmock
import kopf
import pytest

from operators.errors import Conflict, QuotaExceeded, Throttled, backoff_s, for_kopf
from operators.kube import Kube, translate
from operators.resources import CONFIG_MAP, SCHEDULE, SERVICE, condition, covers, set_condition
from stillhouse.errors import RecipeError, StillhouseError, TransientError
from tests.operators.world import NAMESPACE, Clock, world


def _empty() -> kopf.OperatorRegistry:
    return kopf.OperatorRegistry()


def _answer(code: int, message: str = "no", headers: dict[str, str] | None = None) -> httpx2.HTTPStatusError:
    request = httpx2.Request("GET", "http://api/x")
    return httpx2.HTTPStatusError(message, request=request, response=httpx2.Response(code, headers=headers))


@pytest.mark.parametrize(
    ("error", "family", "words"),
    [
        (_answer(409), Conflict, "changed by somebody else"),
        (_answer(429, headers={"Retry-After": "7"}), Throttled, "throttling"),
        (_answer(403, 'pods "a" is forbidden: exceeded quota: gpus'), QuotaExceeded, "raise it"),
        (_answer(403, "forbidden"), TransientError, "service account"),
        (_answer(422, "spec.x: Required value"), RecipeError, "spec.x: Required value"),
        (_answer(400, "bad"), RecipeError, "refused"),
        (_answer(500, "etcd"), TransientError, "answers 500"),
        (httpx2.ConnectError("refused"), TransientError, "does not answer"),
        (httpx2.ReadTimeout("late"), TransientError, "does not answer"),
    ],
)
def test_a_failed_call_says_what_it_means(error: httpx2.HTTPError, family: type[StillhouseError], words: str) -> None:
    said = translate(error, "Service distil/x")
    assert type(said) is family
    assert "Service distil/x" in str(said)
    assert words in str(said)


def test_a_throttled_call_waits_as_long_as_the_server_asks() -> None:
    error = translate(_answer(429, headers={"Retry-After": "40"}), "x")
    assert 40 <= backoff_s(1, error) <= 44


def test_pauses_double_and_end_at_five_minutes() -> None:
    pauses = [backoff_s(failures) for failures in range(1, 12)]
    assert 2.0 <= pauses[0] <= 2.2
    assert 8.0 <= pauses[2] <= 8.8
    assert max(pauses) <= 330


@pytest.mark.parametrize(
    ("error", "family"), [(RecipeError("x"), kopf.PermanentError), (TransientError("x"), kopf.TemporaryError)]
)
def test_the_error_tree_decides_whether_kopf_tries_again(error: StillhouseError, family: type[Exception]) -> None:
    assert type(for_kopf(error)) is family


def _service(name: str = "x", port: int = 8000) -> dict[str, Any]:
    meta = {"name": name, "namespace": NAMESPACE}
    return {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {"ports": [{"port": port}]}}


def test_applying_twice_writes_once() -> None:
    async def story() -> None:
        async with world(registry=_empty) as w:
            assert await w.kube.apply(SERVICE, _service()) == "created"
            writes = len(w.cluster[kmock.method.PATCH])
            assert await w.kube.apply(SERVICE, _service()) == "same"
            assert len(w.cluster[kmock.method.PATCH]) == writes
            assert await w.kube.apply(SERVICE, _service(port=9000)) == "changed"
            made = await w.get(SERVICE, "x")
            assert made is not None
            assert made["spec"]["ports"][0]["port"] == 9000

    asyncio.run(story())


def test_what_somebody_else_changed_is_put_back() -> None:
    async def story() -> None:
        async with world(registry=_empty) as w:
            await w.kube.apply(SERVICE, _service())
            await w.edit(SERVICE, "x", {"spec": {"ports": [{"port": 1}]}})
            assert await w.kube.apply(SERVICE, _service()) == "changed"

    asyncio.run(story())


def test_creating_again_finds_the_first_one() -> None:
    async def story() -> None:
        async with world(registry=_empty) as w:
            first, new = await w.kube.create(SERVICE, _service())
            again, renewed = await w.kube.create(SERVICE, _service(port=1))
            assert (new, renewed) == (True, False)
            assert again["metadata"]["uid"] == first["metadata"]["uid"]
            assert again["spec"] == first["spec"]

    asyncio.run(story())


def test_an_object_whose_creation_was_answered_by_a_broken_connection_is_found_not_made_again() -> None:
    class Dropping(httpx2.AsyncBaseTransport):
        """Does the work, then loses the answer, once."""

        def __init__(self) -> None:
            self.inner, self.lost = httpx2.AsyncHTTPTransport(), 0

        async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
            answer = await self.inner.handle_async_request(request)
            if request.method == "POST" and not self.lost:
                self.lost += 1
                await answer.aread()
                raise httpx2.ReadError("connection reset")
            return answer

        async def aclose(self) -> None:
            await self.inner.aclose()

    async def story() -> None:
        async with world(registry=_empty) as w:
            from lightkube import AsyncClient

            transport = Dropping()
            shaky = Kube(AsyncClient(config=w.kube._client.config, transport=transport, trust_env=False))
            made, new = await shaky.create(SERVICE, _service())
            assert transport.lost == 1
            assert not new
            assert made["metadata"]["name"] == "x"
            assert await w.names(SERVICE) == ["x"]
            await shaky.close()

    asyncio.run(story())


def test_what_is_not_there_is_none_and_not_an_error() -> None:
    async def story() -> None:
        async with world(registry=_empty) as w:
            assert await w.get(CONFIG_MAP, "gone") is None
            assert await w.kube.delete(CONFIG_MAP, NAMESPACE, "gone") is False
            assert await w.kube.patch(CONFIG_MAP, NAMESPACE, "gone", {"data": {}}) is None
            assert await w.kube.list(CONFIG_MAP, NAMESPACE) == []

    asyncio.run(story())


def test_a_status_is_written_only_when_it_differs_and_loses_what_is_gone() -> None:
    async def story() -> None:
        async with world(registry=_empty) as w:
            body = await w.create(SCHEDULE, "a", {"x": 1})
            await w.kube.set_status(SCHEDULE, body, {"state": "Idle", "old": 1})
            body = await w.get(SCHEDULE, "a") or {}
            writes = len(w.cluster[kmock.method.PATCH])
            await w.kube.set_status(SCHEDULE, body, {"state": "Idle", "old": 1})
            assert len(w.cluster[kmock.method.PATCH]) == writes
            await w.kube.set_status(SCHEDULE, body, {"state": "Running"})
            body = await w.get(SCHEDULE, "a") or {}
            assert body["status"] == {"state": "Running"}

    asyncio.run(story())


def test_no_cluster_is_said_in_one_line(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(RecipeError, match="no cluster"):
        Kube.connect()


def test_a_condition_keeps_its_time_until_its_status_changes() -> None:
    clock = Clock()
    first = set_condition([], "Ready", True, "Fine", "it is", now=clock(), generation=1)
    since = first[0]["lastTransitionTime"]
    clock.pass_(minutes=5)
    same = set_condition(first, "Ready", True, "Fine", "it still is", now=clock(), generation=2)
    assert (same[0]["lastTransitionTime"], same[0]["observedGeneration"]) == (since, 2)
    other = set_condition(same, "Ready", None, "Lost", "", now=clock())
    found = condition(other, "Ready")
    assert found is not None
    assert (found["status"], found["lastTransitionTime"] > since) == ("Unknown", True)


@pytest.mark.parametrize(
    ("observed", "wanted", "does"),
    [
        ({"a": 1, "b": 2}, {"a": 1}, True),
        ({"a": 1}, {"a": 2}, False),
        ({"a": 1}, {"b": None}, True),
        ([{"a": 1, "x": 0}], [{"a": 1}], True),
        ([1, 2], [1], False),
        (None, {"a": 1}, False),
        ("x", ["x"], False),
    ],
)
def test_defaults_that_the_server_added_are_no_difference(observed: Any, wanted: Any, does: bool) -> None:
    assert covers(observed, wanted) is does
