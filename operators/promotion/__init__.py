"""StudentPromotion: who may be champion of a registered model, its trial, its rollback, and its protection.

Lives here: ``facts`` (what MLflow said, as plain data), ``judge`` (may this version be promoted?) and ``plan`` (what is
next?), both pure, ``status`` (a pure fold, and the events that follow from it), ``registry`` (facts from MLflow, moves
to it), ``probe`` (is the new champion good?), ``handlers`` (thin). Does not live here: the gate and how evidence is
made (``stillhouse.registry``), what a user may write (``operators.crds.promotion``).

Every move of an alias is first written into ``status.pending``, then made, then written into ``status.history``: a
crash in between neither repeats nor loses it. To add a kind of probe: a class in ``operators.crds.promotion``, a
function in ``probe``, a line in ``probe.ask``.
"""

from __future__ import annotations

import kopf


def register(registry: kopf.OperatorRegistry) -> None:
    """Have StudentPromotions looked after."""
    from operators import loop
    from operators.promotion.handlers import reconcile
    from operators.resources import PROMOTION

    loop.register(registry, PROMOTION, reconcile)
