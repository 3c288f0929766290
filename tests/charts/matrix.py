"""Installations that the chart must render: from the smallest to everything at once. Digests are made up."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

KUBERNETES = ("1.33.0", "1.34.0", "1.35.0", "1.36.0")

Values = dict[str, Any]


def digest(letter: str) -> str:
    """A digest of the right form."""
    return "sha256:" + letter * 64


def merged(*parts: Values) -> Values:
    """Values of several files, later ones win."""
    result: Values = {}
    for part in parts:
        for key, value in part.items():
            old = result.get(key)
            if isinstance(value, dict) and isinstance(old, dict):
                result[key] = merged(old, value)
            else:
                result[key] = deepcopy(value)
    return result


MLFLOW: Values = {"mlflow": {"enabled": True, "image": {"digest": digest("a")}}}
POSTGRESQL: Values = {
    "postgresql": {"enabled": True, "existingSecret": "pg-secret", "image": {"digest": digest("b")}},
}
SEAWEEDFS: Values = {
    "objectStore": {
        "provider": "seaweedfs",
        "existingSecret": "s3-secret",
        "seaweedfs": {"image": {"digest": digest("c")}},
    }
}
MINIO: Values = {
    "objectStore": {
        "provider": "minio",
        "existingSecret": "s3-secret",
        "minio": {"image": {"registry": "registry.example.com", "digest": digest("d")}},
    }
}
BUNDLED = merged(MLFLOW, POSTGRESQL, SEAWEEDFS)
EXTERNAL: Values = {
    "kfp": {
        "endpoint": "https://kfp.example.com",
        "externalUrl": "https://kfp.example.com",
        "namespace": "team-a",
        "caSecret": {"name": "kfp-ca"},
    },
    "mlflow": {
        "trackingUri": "https://mlflow.example.com",
        "existingSecret": "mlflow-credentials",
        "caSecret": {"name": "mlflow-ca", "key": "tls.crt"},
    },
    "objectStore": {
        "endpoint": "https://s3.example.com",
        "existingSecret": "s3-secret",
        "caSecret": {"name": "s3-ca"},
    },
    "networkPolicy": {
        "kfp": {"to": [{"ipBlock": {"cidr": "192.0.2.0/24"}}], "ports": [443]},
        "additionalEgressRules": [{"ports": [{"port": 3128}], "to": [{"ipBlock": {"cidr": "192.0.2.7/32"}}]}],
    },
}
AVAILABLE: Values = {"operator": {"replicas": 3}, "podDisruptionBudget": {"minAvailable": 2}}
MONITORED: Values = {"metrics": {"serviceMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}}
AIR_GAPPED: Values = {
    "image": {
        "registry": "registry.internal:5000/mirror/stillhouse",
        "digests": {"operator": digest("1"), "generate": digest("2"), "train": digest("3"), "evaluate": digest("4")},
    },
    "imagePullSecrets": [{"name": "registry-internal"}],
    "mlflow": {"image": {"registry": "registry.internal:5000/mirror"}},
    "postgresql": {"image": {"registry": "registry.internal:5000/mirror", "repository": "postgres"}},
    "objectStore": {"seaweedfs": {"image": {"registry": "registry.internal:5000/mirror"}}},
}
LABELLED: Values = {
    "nameOverride": "still",
    "fullnameOverride": "distillery",
    "commonLabels": {"team": "research", "app.kubernetes.io/name": "loses"},
    "operator": {"podLabels": {"sidecar.istio.io/inject": "false"}, "podAnnotations": {"note": "x"}},
    "serviceAccount": {"name": "distiller", "annotations": {"example.com/role": "distiller"}},
}
PLACED: Values = {
    component: {
        "nodeSelector": {"pool": "cpu"},
        "tolerations": [{"key": "dedicated", "operator": "Exists"}],
        "affinity": {
            "nodeAffinity": {
                "requiredDuringSchedulingIgnoredDuringExecution": {
                    "nodeSelectorTerms": [
                        {"matchExpressions": [{"key": "arch", "operator": "In", "values": ["amd64"]}]}
                    ]
                }
            }
        },
        "podAnnotations": {"note": "placed"},
    }
    for component in ("operator", "mlflow", "postgresql", "objectStore")
}
TEAMS: Values = {
    "operator": {"watchNamespaces": ["team-a", "team-b"]},
    "rbac": {"keda": True},
    "runs": {"trainJobs": {"enabled": True}, "serviceAccount": "default-editor"},
    "workspace": {"create": True, "storageClass": "nfs"},
    "plugins": {"allowedImports": ["team_a.rewards", "team_b"]},
    "networkPolicy": {"runs": {"enabled": True}},
}
FURTHER: Values = {
    "operator": {
        "env": [
            {"name": "HTTPS_PROXY", "value": "http://proxy.example.com:3128"},
            {"name": "EXTRA_TOKEN", "valueFrom": {"secretKeyRef": {"name": "extra", "key": "token"}}},
        ],
        "envFrom": [{"configMapRef": {"name": "extra-settings"}}],
        "extraVolumes": [{"name": "extra", "configMap": {"name": "extra-settings"}}],
        "extraVolumeMounts": [{"name": "extra", "mountPath": "/extra"}],
        "priorityClassName": "important",
    },
}

MATRIX: dict[str, Values] = {
    "minimal": {},
    "cluster-wide": {"rbac": {"clusterWide": True}},
    "cluster-wide with MLflow": merged({"rbac": {"clusterWide": True}}, BUNDLED),
    "teams": TEAMS,
    "bundled": BUNDLED,
    "bundled for teams": merged(BUNDLED, TEAMS, {"mlflow": {"replicas": 2}}),
    "minio": merged(MLFLOW, POSTGRESQL, MINIO),
    "external": EXTERNAL,
    "MLflow on an external database": merged(
        MLFLOW,
        {
            "postgresql": {
                "existingSecret": "pg-secret",
                "external": {"host": "db.example.com", "caSecret": {"name": "pg-ca"}},
            },
            "objectStore": {"existingSecret": "s3-secret", "region": "eu-central-1", "bucket": "team-bucket"},
        },
    ),
    "MLflow on a database URI": merged(
        MLFLOW, SEAWEEDFS, {"mlflow": {"backendStore": {"existingSecret": "db-uri"}, "migrations": {"enabled": False}}}
    ),
    "available": merged(AVAILABLE, MONITORED),
    "without network policies": merged(BUNDLED, {"networkPolicy": {"enabled": False}}),
    "without CRDs and roles": {
        "crds": {"enabled": False},
        "rbac": {"create": False},
        "serviceAccount": {"create": False, "name": "given"},
    },
    "CRDs not kept": {"crds": {"keep": False}},
    "air-gapped": merged(BUNDLED, AIR_GAPPED),
    "by tags": merged(
        {"thirdPartyImages": {"allowTags": True}},
        {
            "mlflow": {"enabled": True, "image": {"tag": "v3.17.2-full"}},
            "postgresql": {"enabled": True, "existingSecret": "pg-secret", "image": {"tag": "17"}},
            "objectStore": {
                "provider": "seaweedfs",
                "existingSecret": "s3-secret",
                "seaweedfs": {"image": {"tag": "4.34"}},
            },
        },
    ),
    "labelled": merged(BUNDLED, LABELLED),
    "placed": merged(BUNDLED, PLACED),
    "further settings": merged(FURTHER, {"tests": {"enabled": False}, "metrics": {"enabled": False}}),
    "alone": {"operator": {"peering": ""}, "rbac": {"userRoles": {"create": False}}},
    "everything": merged(
        BUNDLED, TEAMS, AVAILABLE, MONITORED, AIR_GAPPED, {"kfp": EXTERNAL["kfp"]}, PLACED, LABELLED, FURTHER
    ),
}
