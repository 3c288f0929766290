"""Every installation keeps the chart's own rules, and every rule can be broken."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest

from tests.charts.conftest import Render
from tests.charts.matrix import BUNDLED, MATRIX, merged
from tests.charts.policies import POLICIES, default_deny, references, templates

GIVEN = {
    ("Secret", "s3-secret"), ("Secret", "pg-secret"), ("Secret", "db-uri"), ("Secret", "pg-ca"), ("Secret", "kfp-ca"),
    ("Secret", "mlflow-ca"), ("Secret", "s3-ca"), ("Secret", "mlflow-credentials"), ("Secret", "extra"),
    ("Secret", "registry-internal"), ("ConfigMap", "extra-settings"), ("ServiceAccount", "given"),
}  # fmt: skip


@pytest.mark.parametrize("name", MATRIX)
def test_an_installation_keeps_every_policy(name: str, render: Render) -> None:
    objects = render(MATRIX[name])
    assert len(list(templates(objects))) >= 1
    assert {policy: broken for policy, check in POLICIES.items() if (broken := check(objects))} == {}


@pytest.mark.parametrize("name", MATRIX)
def test_traffic_is_denied_by_default_and_allowed_to_what_exists(name: str, render: Render) -> None:
    objects = render(MATRIX[name])
    enabled = MATRIX[name].get("networkPolicy", {}).get("enabled", True)
    assert any(item["kind"] == "NetworkPolicy" for item in objects) == enabled
    if enabled:
        assert default_deny(objects) == []


@pytest.mark.parametrize("name", MATRIX)
def test_every_reference_resolves_to_an_object_of_the_release_or_to_one_that_a_value_names(
    name: str, render: Render
) -> None:
    objects = render(MATRIX[name])
    own = {(item["kind"], item["metadata"]["name"]) for item in objects}
    assert references(objects) - own - GIVEN == set()


def test_the_matrix_uses_every_given_object(render: Render) -> None:
    used = set().union(*(references(render(values)) for values in MATRIX.values()))
    assert used >= GIVEN


Break = Callable[[Any], None]


def _spec(objects: Any, component: str = "operator") -> Any:
    return next(
        pod["spec"]
        for item, pod in templates(objects)
        if item["metadata"]["labels"]["app.kubernetes.io/component"] == component
    )


def _first(objects: Any, kind: str, suffix: str = "") -> Any:
    return next(item for item in objects if item["kind"] == kind and item["metadata"]["name"].endswith(suffix))


BREAKS: list[tuple[str, Break]] = [
    ("restricted", lambda o: _spec(o)["securityContext"].pop("runAsNonRoot")),
    ("restricted", lambda o: _spec(o)["securityContext"].update(runAsUser=0)),
    ("restricted", lambda o: _spec(o)["securityContext"].pop("seccompProfile")),
    ("restricted", lambda o: _spec(o).update(hostNetwork=True)),
    ("restricted", lambda o: _spec(o, "test")["containers"][0]["securityContext"]["capabilities"].pop("drop")),
    ("restricted", lambda o: _spec(o, "mlflow")["initContainers"][0]["securityContext"].pop("readOnlyRootFilesystem")),
    ("restricted", lambda o: _spec(o, "bucket")["containers"][0]["securityContext"].pop("allowPrivilegeEscalation")),
    ("restricted", lambda o: _spec(o)["volumes"].append({"name": "host", "hostPath": {"path": "/"}})),
    ("tokens_only_where_needed", lambda o: _spec(o, "mlflow").pop("automountServiceAccountToken")),
    ("tokens_only_where_needed", lambda o: _spec(o, "objectstore").update(automountServiceAccountToken=True)),
    ("no_wildcards", lambda o: _first(o, "Role")["rules"][0]["verbs"].append("*")),
    ("no_wildcards", lambda o: _first(o, "ClusterRole")["rules"][0]["resources"].append("secrets")),
    ("versioned_images", lambda o: _spec(o)["containers"][0].update(image="ghcr.io/x/y")),
    ("versioned_images", lambda o: _spec(o, "test")["containers"][0].update(image="host:5000/x/y:latest")),
    ("probes", lambda o: _spec(o, "postgresql")["containers"][0].pop("readinessProbe")),
    ("limits", lambda o: _spec(o, "mlflow-migrations")["containers"][0]["resources"].pop("limits")),
    ("limits", lambda o: _spec(o)["volumes"][0]["emptyDir"].pop("sizeLimit")),
    ("no_inline_secrets", lambda o: o.append({"kind": "Secret", "metadata": {"name": "x"}})),
    ("no_inline_secrets", lambda o: _spec(o)["containers"][0]["env"].append({"name": "A_TOKEN", "value": "x"})),
    ("no_inline_secrets", lambda o: _spec(o)["containers"][0].update(args=["postgresql://user:word@host/db"])),
    ("unique_names", lambda o: o.append(_first(o, "Service"))),
    ("services_find_pods", lambda o: _first(o, "Service")["spec"]["selector"].update(more="x")),
    ("services_find_pods", lambda o: _first(o, "Service")["spec"]["ports"][0].update(targetPort="other")),
    ("mounts_have_volumes", lambda o: _spec(o)["volumes"].pop()),
    ("data_is_kept", lambda o: _first(o, "StatefulSet")["spec"].pop("persistentVolumeClaimRetentionPolicy")),
    ("data_is_kept", lambda o: _first(o, "PersistentVolumeClaim")["metadata"].pop("annotations")),
    ("default_deny", lambda o: o.remove(_first(o, "NetworkPolicy", "default-deny"))),
    ("default_deny", lambda o: o.remove(_first(o, "NetworkPolicy", "-bucket"))),
    ("default_deny", lambda o: _first(o, "NetworkPolicy", "-test")["spec"]["egress"][1]["ports"][0].update(port=1)),
]


@pytest.mark.parametrize(("policy", "break_it"), BREAKS, ids=[f"{index}-{b[0]}" for index, b in enumerate(BREAKS)])
def test_a_policy_sees_what_breaks_it(policy: str, break_it: Break, render: Render) -> None:
    check = {**POLICIES, "default_deny": default_deny}[policy]
    objects = deepcopy(render(merged(BUNDLED, {"workspace": {"create": True}})))
    assert check(objects) == []
    break_it(objects)
    assert check(objects) != []


def test_every_policy_is_broken_once() -> None:
    assert {name for name, _ in BREAKS} == {*POLICIES, "default_deny"}
