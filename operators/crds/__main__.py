"""``python -m operators.crds`` writes the chart's CRDs; ``--check`` only says whether they are up to date."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import yaml

from operators.crds import kinds
from operators.crds.base import Kind

FOLDER = Path(__file__).parents[2] / "charts" / "stillhouse" / "templates" / "crds"
_HEAD = """{{- /* Written by `python -m operators.crds`; edit operators/crds instead. */}}
{{- if .Values.crds.enabled }}
"""
_KEEP = """  {{- if .Values.crds.keep }}
  annotations:
    helm.sh/resource-policy: keep
  {{- end }}
"""


def template(kind: Kind) -> str:
    """The Helm template of a kind's CRD."""
    body = yaml.safe_dump(kind.definition(), sort_keys=False, width=110, allow_unicode=True)
    # What Helm would read as a template is written as one that prints it.
    body = body.replace("{{", "{{ `{{` }}")
    name = f"  name: {kind.resource.plural}.{kind.resource.group}\n"
    return f"{_HEAD}{body.replace(name, name + _KEEP)}{{{{- end }}}}\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m operators.crds", description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a file is out of date")
    check = parser.parse_args().check
    stale = []
    for kind in kinds():
        path = FOLDER / f"{kind.resource.plural}.{kind.resource.group}.yaml"
        text = template(kind)
        if path.is_file() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path.name)
        if not check:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    if check and stale:
        print(f"out of date: {', '.join(stale)}; run python -m operators.crds", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
