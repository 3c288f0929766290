"""Which Kubeflow Pipelines, as whom, trusted how: settings from the command line and the environment.

Names are KFP's own where it has them. TLS is always verified; a token is read from a file, never from a variable.
"""

from __future__ import annotations

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from stillhouse.errors import RecipeError

ENDPOINT_ENV = "KF_PIPELINES_ENDPOINT"
TOKEN_ENV = "KF_PIPELINES_SA_TOKEN_PATH"
CA_ENV = "STILLHOUSE_KFP_CA_FILE"
NAMESPACE_ENV = "STILLHOUSE_KFP_NAMESPACE"
EXTERNAL_ENV = "STILLHOUSE_KFP_EXTERNAL_URL"
MOUNTED_TOKEN = "/var/run/secrets/kubeflow/pipelines/token"
"""Where a pod finds its projected token, by KFP's own convention."""


@dataclass(frozen=True)
class Endpoint:
    """A KFP API server and how it is spoken to."""

    url: str
    """Base of the API, without a slash at its end; ``/apis/v2beta1`` follows."""
    namespace: str = ""
    """Profile in installations with several users."""
    token_file: str = ""
    """File with a bearer token, read again for every request, because tokens are renewed in place."""
    ca_file: str = ""
    """Certificate authority of the server; empty trusts the public ones."""
    external_url: str = ""
    """Base of links for people, where it differs from ``url``."""

    @classmethod
    def from_env(cls, env: Mapping[str, str], **given: str) -> Endpoint:
        """``given`` options (by the names of the fields) before ``env``; checked.

        Raises:
            RecipeError: no endpoint or one without a scheme, a certificate or token file that is not there.
        """
        names = {"url": ENDPOINT_ENV, "namespace": NAMESPACE_ENV, "token_file": TOKEN_ENV, "ca_file": CA_ENV}
        names["external_url"] = EXTERNAL_ENV
        told = {name: given.get(name) or env.get(variable, "") for name, variable in names.items()}
        if not told["token_file"] and Path(MOUNTED_TOKEN).is_file():
            told["token_file"] = MOUNTED_TOKEN
        told["url"] = _checked_url(told["url"], "--endpoint", ENDPOINT_ENV).rstrip("/")
        if told["external_url"]:
            told["external_url"] = _checked_url(told["external_url"], "", EXTERNAL_ENV).rstrip("/")
        found = cls(**told)
        found.check_files()
        return found

    def check_files(self) -> None:
        """Refuse a certificate or token file that cannot be used."""
        if self.ca_file:
            try:
                ssl.create_default_context(cafile=self.ca_file)
            except FileNotFoundError as error:
                raise RecipeError(f"{self.ca_file}: no such file; correct --ca-file or {CA_ENV}") from error
            except (ssl.SSLError, OSError) as error:
                raise RecipeError(f"{self.ca_file}: no certificate in PEM form ({error}); correct {CA_ENV}") from error
        if self.token_file and not Path(self.token_file).is_file():
            raise RecipeError(f"{self.token_file}: no such token file; correct --token-file or {TOKEN_ENV}")

    def run_url(self, run_id: str) -> str:
        """The run's page in KFP's UI."""
        return f"{self.external_url or self.url}/#/runs/details/{run_id}"


def _checked_url(url: str, option: str, variable: str) -> str:
    where = " or ".join(name for name in (option, variable) if name)
    if not url:
        raise RecipeError(f"no Kubeflow Pipelines is named; set {where}, such as https://kubeflow.example.org/pipeline")
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https"):
        bare = url.partition("://")[2] if "://" in url else url
        raise RecipeError(f"{url}: must start with https:// or http://; set {where} to https://{bare}")
    if not parts.hostname:
        raise RecipeError(f"{url}: names no host; correct {where}")
    if parts.username or parts.password:
        raise RecipeError(f"{where}: must hold no user or password; put a token into a file and name it in {TOKEN_ENV}")
    return url
