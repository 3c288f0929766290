"""What the installation says to the operator, from environment variables. Knows names and bounds, not their use."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from stillhouse.errors import RecipeError


@dataclass(frozen=True)
class Settings:
    """The operator's settings; times in seconds. The chart sets every variable named here."""

    watch_namespaces: tuple[str, ...] = ()
    """``STILLHOUSE_WATCH_NAMESPACES``: empty watches the whole cluster."""
    namespace: str = "default"
    """``STILLHOUSE_OPERATOR_NAMESPACE``: where the operator itself runs (peering)."""
    peering: str = ""
    """``STILLHOUSE_PEERING``: name of the KopfPeering object; empty runs alone."""
    health_port: int = 8080
    metrics_port: int = 9090
    log_format: str = "json"
    log_level: str = "INFO"
    resync_s: float = 30.0
    """``STILLHOUSE_RESYNC_S``: how often outside systems (KFP, MLflow, pods) are looked at."""
    kfp_endpoint: str = ""
    """``KF_PIPELINES_ENDPOINT``."""
    kfp_token_path: str = ""
    """``KF_PIPELINES_SA_TOKEN_PATH``: read again for every request, tokens rotate."""
    kfp_ca_file: str = ""
    kfp_namespace: str = ""
    kfp_external_url: str = ""
    mlflow_uri: str = ""
    """``MLFLOW_TRACKING_URI``."""
    mlflow_ca_file: str = ""
    image_registry: str = "ghcr.io/stillhouse-dev"
    image_tag: str = ""
    teacher_image: str = ""
    """``STILLHOUSE_TEACHER_IMAGE``: image of a TeacherServer that names none."""

    @classmethod
    def from_env(cls, env: Mapping[str, str] = os.environ) -> Settings:
        """Read the environment.

        Raises:
            RecipeError: a number that is none, or an unknown log format.
        """
        read = env.get
        names = tuple(name.strip() for name in read("STILLHOUSE_WATCH_NAMESPACES", "").split(",") if name.strip())
        log_format = read("STILLHOUSE_LOG_FORMAT", "json")
        if log_format not in ("json", "plain"):
            raise RecipeError(f"STILLHOUSE_LOG_FORMAT = {log_format!r}: must be json or plain")
        return cls(
            watch_namespaces=names,
            namespace=read("STILLHOUSE_OPERATOR_NAMESPACE", "default"),
            peering=read("STILLHOUSE_PEERING", ""),
            health_port=int(_number(env, "STILLHOUSE_HEALTH_PORT", 8080)),
            metrics_port=int(_number(env, "STILLHOUSE_METRICS_PORT", 9090)),
            log_format=log_format,
            log_level=read("STILLHOUSE_LOG_LEVEL", "INFO").upper(),
            resync_s=_number(env, "STILLHOUSE_RESYNC_S", 30.0),
            kfp_endpoint=read("KF_PIPELINES_ENDPOINT", "").rstrip("/"),
            kfp_token_path=read("KF_PIPELINES_SA_TOKEN_PATH", ""),
            kfp_ca_file=read("STILLHOUSE_KFP_CA_FILE", ""),
            kfp_namespace=read("STILLHOUSE_KFP_NAMESPACE", ""),
            kfp_external_url=read("STILLHOUSE_KFP_EXTERNAL_URL", "").rstrip("/"),
            mlflow_uri=read("MLFLOW_TRACKING_URI", "").rstrip("/"),
            mlflow_ca_file=read("MLFLOW_TRACKING_SERVER_CERT_PATH", ""),
            image_registry=read("STILLHOUSE_IMAGE_REGISTRY", "ghcr.io/stillhouse-dev"),
            image_tag=read("STILLHOUSE_IMAGE_TAG", ""),
            teacher_image=read("STILLHOUSE_TEACHER_IMAGE", ""),
        )

    def kfp_token(self) -> str:
        """The bearer token of the moment; empty where none is configured."""
        return Path(self.kfp_token_path).read_text(encoding="utf-8").strip() if self.kfp_token_path else ""


def _number(env: Mapping[str, str], name: str, default: float) -> float:
    try:
        value = float(env.get(name) or default)
    except ValueError:
        raise RecipeError(f"{name} = {env[name]!r}: must be a number") from None
    if value <= 0:
        raise RecipeError(f"{name} = {env[name]!r}: must be above 0")
    return value
