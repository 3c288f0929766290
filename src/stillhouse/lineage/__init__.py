"""Lineage: what every stage leaves behind in MLflow, and the way back from a student to its recipe.

Lives here: ``address`` (which MLflow), ``store`` (the connection, and its errors in our words), ``tracking``
(one run for each stage), ``parents`` (one parent run for each pipeline run), ``versions`` and ``packaging``
(registered models, their tags, aliases and files), ``chain`` (recipe -> teacher -> traces -> ... -> verdict as plain
data), ``lookup`` (a chain out of MLflow or out of files). Does not live here: what the numbers mean (evaluation) and
whether a student may be promoted (registry).

This is the only package that imports mlflow, and only ``store``, ``versions`` and ``packaging`` do so at their top; the
others import those inside functions, because a stage that was done before must start in a blink.

To log something new from a stage: a method of ``tracking.Tracker`` in plain types, and beside it the call in ``store``.
"""

from __future__ import annotations

from stillhouse.lineage.chain import Chain, Node, build_chain
from stillhouse.lineage.lookup import lineage

__all__ = ["Chain", "Node", "build_chain", "lineage"]
