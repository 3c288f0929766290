"""Deciding over a student on a cluster: approve what waits for promotion, roll back what was promoted."""

from __future__ import annotations

from typing import Annotated

import typer

from stillhouse.cli.console import Format, emit, say
from stillhouse.cli.run import OutputOption

NameArgument = Annotated[str, typer.Argument(help="Registered model, or the StudentPromotion's own name.")]
NamespaceOption = Annotated[
    str, typer.Option("--namespace", "-n", help="Where the StudentPromotion is; else the kubeconfig's or the pod's.")
]


def add_to(app: typer.Typer) -> None:
    for command in (approve, rollback):
        app.command()(command)


def approve(
    name: NameArgument,
    version: Annotated[str, typer.Argument(help="Version that waits, such as 8.")],
    evidence: Annotated[
        str, typer.Option("--evidence", help="sha256 of the evidence that you have looked at, or its first 8 digits.")
    ],
    namespace: NamespaceOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Approve a version that has passed its gate, by the hash of its evidence; the operator promotes it."""
    from stillhouse.launch import approvals

    promotions = approvals.connect(namespace)
    found = approvals.find(promotions.all(), name, promotions.namespace)
    value = approvals.approval(found, version, evidence)
    promotions.annotate(found["metadata"]["name"], approvals.APPROVE, value)
    number, _, sha256 = value.partition(":")
    row = {"namespace": promotions.namespace, "promotion": found["metadata"]["name"], "version": number}
    row |= {"student": found["spec"]["student"], "evidence": sha256}
    say(f"{row['student']} v{number} is approved, evidence sha256:{sha256[:12]}…; the operator promotes it")
    if output is not Format.TABLE:
        emit(row, output)


def rollback(
    name: NameArgument,
    to: Annotated[str, typer.Option("--to", help="Version, or none; by default the previous champion.")] = "",
    namespace: NamespaceOption = "",
    output: OutputOption = Format.TABLE,
) -> None:
    """Give champion back to an earlier version; the one that leaves is marked as rejected."""
    from stillhouse.launch import approvals

    promotions = approvals.connect(namespace)
    found = approvals.find(promotions.all(), name, promotions.namespace)
    target = approvals.rollback_target(found, to)
    promotions.annotate(found["metadata"]["name"], approvals.ROLLBACK, target)
    row = {"namespace": promotions.namespace, "promotion": found["metadata"]["name"]}
    row |= {"student": found["spec"]["student"], "to": target}
    words = "no champion" if target == "none" else f"v{target}"
    say(f"{row['student']}: rollback to {words} is asked for; the operator makes it")
    if output is not Format.TABLE:
        emit(row, output)
