"""Registered models: versions, their tags, aliases and files, in plain types. Knows no gate and no verdict.

A version is made in one call with all its tags, after everything it points to is in place: a version that exists is
whole. Registry stages are never used; aliases are.
"""

from __future__ import annotations

import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlflow import artifacts as mlflow_artifacts
from mlflow.exceptions import MlflowException

from stillhouse.errors import RecipeError, nearest
from stillhouse.lineage.address import redirect
from stillhouse.lineage.packaging import package
from stillhouse.lineage.store import Store, translated
from stillhouse.workspace import Workspace

KEY_TAG = "stillhouse.stage_key"
# No quotes: a name stands between them in MLflow's filters, which know no way to escape one.
_MODEL_URI = re.compile(r"models:/(?P<name>[^/@'\"`\\\x00-\x1f]+)(?:@(?P<alias>[\w-]+)|/(?P<version>[0-9]+))")
_MISSING = {"RESOURCE_DOES_NOT_EXIST", "NOT_FOUND"}


@dataclass(frozen=True)
class Version:
    """A registered model's version as MLflow knew it when it was asked."""

    name: str
    version: str
    run_id: str
    tags: Mapping[str, str]
    aliases: tuple[str, ...]

    @property
    def uri(self) -> str:
        return f"models:/{self.name}/{self.version}"


@dataclass(frozen=True)
class Registry:
    """The model registry of ``store``. ``space`` lets a moved workspace find its artifacts."""

    store: Store
    space: Workspace | None = None

    def get(self, name: str, version: str) -> Version | None:
        found = self._or_none(self.store.client.get_model_version, name, version)
        return _version(found) if found else None

    def by_alias(self, name: str, alias: str) -> Version | None:
        found = self._or_none(self.store.client.get_model_version_by_alias, name, alias)
        # The alias's answer leaves the list of aliases empty on some stores: ask for the version itself.
        return self.get(name, str(found.version)) if found else None

    def find(self, name: str, key: str) -> Version | None:
        """The version that the stage with ``key`` made, if it did."""
        query = f"name = '{name}' and tags.`{KEY_TAG}` = '{key}'"
        found = self.store.call(self.store.client.search_model_versions, query)
        first = min((int(item.version) for item in found), default=None)
        return self.get(name, str(first)) if first is not None else None

    def versions(self, name: str) -> list[str]:
        found = self.store.call(self.store.client.search_model_versions, f"name = '{name}'")
        return sorted((str(item.version) for item in found), key=int)

    def resolve(self, uri: str) -> Version:
        """The version that ``models:/<name>@<alias>`` or ``models:/<name>/<version>`` names.

        Raises:
            RecipeError: no such model, alias or version; says which there are.
        """
        match = _MODEL_URI.fullmatch(uri)
        if not match:
            raise RecipeError(f"{uri}: not a model's address; use models:/<name>@<alias> or models:/<name>/<version>")
        name, alias = match["name"], match["alias"]
        found = self.by_alias(name, alias) if alias else self.get(name, match["version"])
        if found is not None:
            return found
        model = self._or_none(self.store.client.get_registered_model, name)
        if model is None:
            names = [item.name for item in self.store.call(self.store.client.search_registered_models)]
            raise RecipeError(f"{uri}: no registered model {name!r}; {nearest(name, names)}")
        if alias:
            known = ", ".join(f"{key} (version {value})" for key, value in sorted(model.aliases.items())) or "none yet"
            raise RecipeError(f"{uri}: {name} has no alias {alias!r}; its aliases: {known}")
        known = ", ".join(self.versions(name)) or "none"
        raise RecipeError(f"{uri}: {name} has no version {match['version']}; its versions: {known}")

    def register(
        self, name: str, folder: Path, *, run_id: str, key: str, tags: Mapping[str, str], staging: Path
    ) -> Version:
        """Make a version out of the model in ``folder``, whole or not at all; ``staging`` is a scratch folder.

        Weights that an earlier, killed call has uploaded for the same ``key`` are used again.
        """
        client = self.store.client
        run = self.store.call(client.get_run, run_id)
        model = self._logged_model(run.info.experiment_id, name, run_id, key, folder, staging)
        try:
            self.store.call(client.create_registered_model, name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        # A database store resolves models:/<id> through the process's global client, which is not ours.
        remote = self.store.uri.startswith("http")
        made = self.store.call(
            client.create_model_version,
            name,
            source=f"models:/{model.model_id}" if remote else model.artifact_location,
            run_id=run_id,
            tags={**tags, KEY_TAG: key},
            model_id=model.model_id,
        )
        found = self.get(name, str(made.version))
        assert found is not None
        return found

    def _logged_model(self, experiment: str, name: str, run_id: str, key: str, folder: Path, staging: Path) -> Any:
        client = self.store.client
        for model in self.store.call(
            client.search_logged_models, [experiment], filter_string=f"tags.`{KEY_TAG}` = '{key}'"
        ):
            if str(model.status) == "READY":
                return model
            self.store.call(client.finalize_logged_model, model.model_id, "FAILED")
        model = self.store.call(client.create_logged_model, experiment, name, run_id, {KEY_TAG: key})
        package(folder, staging, name=name, model_id=model.model_id, run_id=run_id, location=model.artifact_location)
        self.store.call(client.log_model_artifacts, model.model_id, str(staging))
        return self.store.call(client.finalize_logged_model, model.model_id, "READY")

    def set_tags(self, version: Version, tags: Mapping[str, str]) -> None:
        """Set those of ``tags`` that the version does not carry already."""
        for key, value in tags.items():
            if version.tags.get(key) != value:
                self.store.call(
                    self.store.client.set_model_version_tag, version.name, version.version, key=key, value=value
                )

    def set_alias(self, version: Version, alias: str) -> None:
        self.store.call(self.store.client.set_registered_model_alias, version.name, alias, version.version)

    def run_file(self, version: Version, name: str) -> Path | None:
        """A file that the version's run kept, on this machine; None when it is gone."""
        run = self._or_none(self.store.client.get_run, version.run_id) if version.run_id else None
        if run is None:
            return None
        local = redirect(run.info.artifact_uri, self.space)
        if local is not None:
            return local / name if (local / name).is_file() else None
        listed = self.store.call(self.store.client.list_artifacts, version.run_id)
        if name not in {item.path for item in listed}:
            return None
        target = tempfile.mkdtemp(prefix="stillhouse-")
        return Path(self.store.call(self.store.client.download_artifacts, version.run_id, name, target))

    def model_folder(self, version: Version, target: Path | None = None) -> Path:
        """The version's files on this machine, loadable by ``AutoModelForCausalLM.from_pretrained``.

        Files in a local store are not copied; others are downloaded into ``target`` (by default a temporary folder).

        Raises:
            RecipeError: the files are gone.
        """
        client = self.store.client
        location = self.store.call(client.get_model_version_download_uri, version.name, version.version)
        local = redirect(location, self.space)
        if local is None:
            place = target or Path(tempfile.mkdtemp(prefix="stillhouse-"))
            place.mkdir(parents=True, exist_ok=True)
            with translated(self.store.uri):
                return Path(
                    mlflow_artifacts.download_artifacts(
                        artifact_uri=location, dst_path=str(place), tracking_uri=self.store.uri
                    )
                )
        if not (local / "config.json").is_file():
            raise RecipeError(f"{version.uri}: its files are gone from {local}; restore them or register it again")
        return local

    def _or_none(self, function: Any, *args: str) -> Any:
        try:
            return self.store.call(function, *args)
        except MlflowException as error:
            if error.error_code in _MISSING or "not found" in str(error.message).lower():
                return None
            raise


def _version(item: Any) -> Version:
    return Version(
        name=str(item.name),
        version=str(item.version),
        run_id=str(item.run_id or ""),
        tags=dict(item.tags),
        aliases=tuple(sorted(item.aliases)),
    )
