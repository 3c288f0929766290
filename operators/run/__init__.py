"""DistillationRun: one run of a recipe as a resource.

Lives here: ``recipe`` (the recipe's text, where it stands), ``look`` (what KFP, pods and MLflow say, as plain facts),
``status`` (facts to status, purely), ``handlers`` (thin). Does not live here: placing and starting the pipeline (the
command ``stillhouse submit``), when a run starts (``operators.schedule``). To tell something more of a run: read it in
``look``, write it in ``status.fold``, and declare the field in ``operators.crds.run``.
"""

import kopf

from operators.loop import register as _register
from operators.resources import RUN


def register(registry: kopf.OperatorRegistry) -> None:
    """Have every DistillationRun looked after."""
    from operators.run.handlers import cleanup, reconcile

    _register(registry, RUN, reconcile, cleanup)


__all__ = ["register"]
