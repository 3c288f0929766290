"""The chart's own rules: pure functions from the objects of a release to sentences about what breaks them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

Manifest = dict[str, Any]
Policy = Callable[[list[Manifest]], list[str]]

VOLUME_TYPES = {"configMap", "downwardAPI", "emptyDir", "persistentVolumeClaim", "projected", "secret"}
CREDENTIAL = re.compile(r"(PASSWORD|TOKEN|SECRET|CREDENTIALS?|(API|ACCESS|PRIVATE)_?KEY)$", re.IGNORECASE)
URL_WITH_PASSWORD = re.compile(r"://[^/\s:@]+:[^/\s@]+@")
VERSIONED = re.compile(r"^[^\s@]+(:(?!latest$)[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}|@sha256:[0-9a-f]{64})$")
LONG_RUNNING = {"Deployment", "StatefulSet", "DaemonSet"}


def title(item: Manifest) -> str:
    return f"{item['kind']} {item['metadata'].get('namespace', '-')}/{item['metadata']['name']}"


def templates(objects: list[Manifest]) -> Iterator[tuple[Manifest, Manifest]]:
    """(object, pod template) of everything that makes pods."""
    for item in objects:
        if item["kind"] == "Pod":
            yield item, item
        elif item["kind"] == "CronJob":
            yield item, item["spec"]["jobTemplate"]["spec"]["template"]
        elif "template" in (item.get("spec") or {}):
            yield item, item["spec"]["template"]


def containers(pod: Manifest) -> list[Manifest]:
    spec = pod["spec"]
    return [*spec.get("initContainers", []), *spec.get("containers", []), *spec.get("ephemeralContainers", [])]


def restricted(objects: list[Manifest]) -> list[str]:
    """The restricted Pod Security Standard, and a read-only root, of every pod template."""
    wrong = []
    for item, pod in templates(objects):
        spec, shared = pod["spec"], pod["spec"].get("securityContext", {})
        wrong += [f"{title(item)}: {key}" for key in ("hostNetwork", "hostPID", "hostIPC") if spec.get(key)]
        for volume in spec.get("volumes", []):
            wrong += [f"{title(item)}: volume {name}" for name in set(volume) - {"name"} - VOLUME_TYPES]
        for container in containers(pod):
            own = container.get("securityContext", {})
            where = f"{title(item)}/{container['name']}"
            capabilities = own.get("capabilities", {})
            profile = own.get("seccompProfile", shared.get("seccompProfile", {})).get("type")
            user = own.get("runAsUser", shared.get("runAsUser"))
            rules = {
                "runAsNonRoot": own.get("runAsNonRoot", shared.get("runAsNonRoot")) is True,
                "runAsUser": isinstance(user, int) and user > 0,
                "seccompProfile": profile in ("RuntimeDefault", "Localhost"),
                "allowPrivilegeEscalation": own.get("allowPrivilegeEscalation") is False,
                "privileged": not own.get("privileged"),
                "capabilities": capabilities.get("drop") == ["ALL"]
                and set(capabilities.get("add", [])) <= {"NET_BIND_SERVICE"},
                "readOnlyRootFilesystem": own.get("readOnlyRootFilesystem") is True,
                "hostPort": not any(port.get("hostPort") for port in container.get("ports", [])),
            }
            wrong += [f"{where}: {rule}" for rule, holds in rules.items() if not holds]
    return wrong


def tokens_only_where_needed(objects: list[Manifest]) -> list[str]:
    """Only the operator speaks to the Kubernetes API."""
    return [
        f"{title(item)}: automountServiceAccountToken"
        for item, pod in templates(objects)
        if pod["spec"].get("automountServiceAccountToken") is not _is_operator(pod)
    ]


def _is_operator(pod: Manifest) -> bool:
    return bool(pod["metadata"]["labels"].get("app.kubernetes.io/component") == "operator")


def no_wildcards(objects: list[Manifest]) -> list[str]:
    """Rights name groups, resources and verbs one by one, and none of those that give more than they say."""
    wrong = []
    for item in objects:
        for rule in item.get("rules") or []:
            words = [*rule.get("apiGroups", []), *rule.get("resources", []), *rule.get("verbs", [])]
            banned = {"*", "escalate", "bind", "impersonate", "secrets", "pods/exec", "nodes", "nonResourceURLs"}
            wrong += [f"{title(item)}: {word}" for word in words if word in banned or "*" in word]
            wrong += [f"{title(item)}: {key}" for key in ("nonResourceURLs",) if key in rule]
    return wrong


def versioned_images(objects: list[Manifest]) -> list[str]:
    """Every image has a tag other than latest, or a digest; also those that only settings name."""
    wrong = []
    for item, pod in templates(objects):
        for container in containers(pod):
            named = [container["image"]]
            named += [env["value"] for env in container.get("env", []) if env["name"].endswith("_IMAGE")]
            wrong += [f"{title(item)}: {image}" for image in named if not VERSIONED.match(image)]
    return wrong


def probes(objects: list[Manifest]) -> list[str]:
    """Every container that runs on has the three probes."""
    return [
        f"{title(item)}/{container['name']}: {probe}"
        for item, pod in templates(objects)
        if item["kind"] in LONG_RUNNING
        for container in pod["spec"]["containers"]
        for probe in ("startupProbe", "livenessProbe", "readinessProbe")
        if not container.get(probe)
    ]


def limits(objects: list[Manifest]) -> list[str]:
    """Requests and limits of CPU and memory everywhere, and of every scratch volume."""
    wrong = []
    for item, pod in templates(objects):
        for container in containers(pod):
            resources = container.get("resources", {})
            wrong += [
                f"{title(item)}/{container['name']}: {kind}.{unit}"
                for kind in ("requests", "limits")
                for unit in ("cpu", "memory")
                if unit not in resources.get(kind, {})
            ]
        for volume in pod["spec"].get("volumes", []):
            if "emptyDir" in volume and "sizeLimit" not in (volume["emptyDir"] or {}):
                wrong.append(f"{title(item)}: emptyDir {volume['name']} without sizeLimit")
    return wrong


def no_inline_secrets(objects: list[Manifest]) -> list[str]:
    """No Secret is rendered, and no setting holds what looks like a credential."""
    wrong = [title(item) for item in objects if item["kind"] == "Secret"]
    for item, pod in templates(objects):
        for container in containers(pod):
            for env in container.get("env", []):
                if CREDENTIAL.search(env["name"]) and "value" in env:
                    wrong.append(f"{title(item)}: {env['name']}")
            texts = [env.get("value", "") for env in container.get("env", [])]
            texts += [*container.get("command", []), *container.get("args", [])]
            wrong += [f"{title(item)}: {text}" for text in texts if URL_WITH_PASSWORD.search(text)]
    return wrong


def unique_names(objects: list[Manifest]) -> list[str]:
    """No object twice, no name that the API would refuse for its length."""
    seen: set[str] = set()
    wrong = []
    for item in objects:
        wrong += [f"{title(item)} twice"] if title(item) in seen else []
        wrong += [f"{title(item)}: too long"] if len(item["metadata"]["name"]) > 63 else []
        seen.add(title(item))
    return wrong


def services_find_pods(objects: list[Manifest]) -> list[str]:
    """Every Service, budget, monitor and policy of this release selects something, by ports that have that name."""
    wrong = []
    pods = [(item, pod) for item, pod in templates(objects)]
    for item in objects:
        if item["kind"] != "Service":
            continue
        found = [pod for _, pod in pods if _selects(item["spec"]["selector"], pod)]
        if len(found) != 1:
            wrong.append(f"{title(item)}: selects {len(found)} pod templates")
            continue
        names = {port["name"] for container in found[0]["spec"]["containers"] for port in container.get("ports", [])}
        for port in item["spec"]["ports"]:
            if port["name"] != port["targetPort"] or port["targetPort"] not in names:
                wrong.append(f"{title(item)}: port {port['name']}")
        wrong += [] if item["spec"]["type"] == "ClusterIP" else [f"{title(item)}: {item['spec']['type']}"]
    for item in objects:
        if item["kind"] in ("PodDisruptionBudget", "ServiceMonitor"):
            selector = item["spec"]["selector"]["matchLabels"]
            labelled = (
                pods if item["kind"] == "PodDisruptionBudget" else [(s, s) for s in objects if s["kind"] == "Service"]
            )
            if not any(_selects(selector, target) for _, target in labelled):
                wrong.append(f"{title(item)}: selects nothing")
    return wrong


def _selects(selector: Manifest, target: Manifest) -> bool:
    labels = target["metadata"].get("labels", {})
    return all(labels.get(key) == value for key, value in selector.items())


def references(objects: list[Manifest]) -> set[tuple[str, str]]:
    """(kind, name) of every ConfigMap, Secret, ServiceAccount and claim that a pod of the release refers to."""
    found = set()
    for _, pod in templates(objects):
        spec = pod["spec"]
        found |= {("Secret", item["name"]) for item in spec.get("imagePullSecrets", [])}
        if spec.get("serviceAccountName"):
            found.add(("ServiceAccount", spec["serviceAccountName"]))
        for volume in spec.get("volumes", []):
            found |= {("ConfigMap", volume["configMap"]["name"])} if "configMap" in volume else set()
            found |= {("Secret", volume["secret"]["secretName"])} if "secret" in volume else set()
            claim = volume.get("persistentVolumeClaim")
            found |= {("PersistentVolumeClaim", claim["claimName"])} if claim else set()
        for container in containers(pod):
            sources = [env.get("valueFrom", {}) for env in container.get("env", [])] + container.get("envFrom", [])
            for source in sources:
                for key, kind in (("secretKeyRef", "Secret"), ("secretRef", "Secret"), ("configMapKeyRef", "ConfigMap"),
                                  ("configMapRef", "ConfigMap")):  # fmt: skip
                    found |= {(kind, source[key]["name"])} if key in source else set()
    return found


def mounts_have_volumes(objects: list[Manifest]) -> list[str]:
    """Every mount names a volume of its pod, every volume is mounted, and /tmp is writable."""
    wrong = []
    for item, pod in templates(objects):
        claims = item["spec"].get("volumeClaimTemplates", [])
        volumes = {volume["name"] for volume in pod["spec"].get("volumes", [])}
        volumes |= {claim["metadata"]["name"] for claim in claims}
        mounted = set()
        for container in containers(pod):
            paths = {mount["mountPath"]: mount["name"] for mount in container.get("volumeMounts", [])}
            mounted |= set(paths.values())
            wrong += [] if "/tmp" in paths else [f"{title(item)}/{container['name']}: no /tmp"]
        wrong += [f"{title(item)}: {name}" for name in volumes ^ mounted]
    return wrong


def default_deny(objects: list[Manifest]) -> list[str]:
    """Every pod is denied by one policy and allowed by one of its own, which names only pods and ports that exist."""
    policies = [item for item in objects if item["kind"] == "NetworkPolicy"]
    denies = [
        item for item in policies
        if item["spec"]["policyTypes"] == ["Ingress", "Egress"]
        and not item["spec"].get("ingress") and not item["spec"].get("egress")
    ]  # fmt: skip
    if len(denies) != 1:
        return [f"{len(denies)} policies deny everything"]
    wrong = []
    for item, pod in templates(objects):
        if not _selects(denies[0]["spec"]["podSelector"]["matchLabels"], pod):
            wrong.append(f"{title(item)}: not denied")
        labels = [policy["spec"]["podSelector"].get("matchLabels") for policy in policies if policy is not denies[0]]
        if not any(selector and _selects(selector, pod) for selector in labels):
            wrong.append(f"{title(item)}: nothing is allowed")
    for policy in policies:
        for peer, port in _peers(policy):
            targets = [pod for _, pod in templates(objects) if _selects(peer, pod)]
            numbers = {
                port["containerPort"]
                for pod in targets
                for container in pod["spec"]["containers"]
                for port in container.get("ports", [])
            }
            if not targets or (port is not None and port not in numbers):
                wrong.append(f"{title(policy)}: no pod with {peer} and port {port}")
    return wrong


def _peers(policy: Manifest) -> Iterator[tuple[Manifest, int | None]]:
    """(labels, port) of the release's own pods that a policy lets traffic go to; port None where traffic comes from."""
    for rule in policy["spec"].get("egress", []):
        for peer in rule.get("to", []):
            labels = peer.get("podSelector", {}).get("matchLabels", {})
            if "app.kubernetes.io/component" in labels:
                yield from ((labels, port["port"]) for port in rule["ports"])
    for rule in policy["spec"].get("ingress", []):
        for peer in rule.get("from", []):
            labels = peer.get("podSelector", {}).get("matchLabels", {})
            if "app.kubernetes.io/component" in labels:
                yield labels, None


def data_is_kept(objects: list[Manifest]) -> list[str]:
    """What holds data outlives the release."""
    wrong = []
    for item in objects:
        if item["kind"] == "PersistentVolumeClaim":
            kept = item["metadata"].get("annotations", {}).get("helm.sh/resource-policy") == "keep"
            wrong += [] if kept else [title(item)]
        if item["kind"] == "StatefulSet":
            policy = item["spec"].get("persistentVolumeClaimRetentionPolicy")
            wrong += [] if policy == {"whenDeleted": "Retain", "whenScaled": "Retain"} else [title(item)]
    return wrong


POLICIES: dict[str, Policy] = {
    function.__name__: function
    for function in (
        restricted, tokens_only_where_needed, no_wildcards, versioned_images, probes, limits, no_inline_secrets,
        unique_names, services_find_pods, mounts_have_volumes, data_is_kept,
    )
}  # fmt: skip
