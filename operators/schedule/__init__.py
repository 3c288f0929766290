"""DistillationSchedule: when a recipe runs.

Lives here: ``cron`` (times of an expression), ``times`` (which have come up), ``history`` (the runs there are),
``plan`` (what to start, cancel, delete), ``status`` (what is told), all pure; ``signals`` (data, teachers, registry)
and ``handlers``, thin. Does not live here: what a run does (``operators.run``). To add a trigger: a field in
``operators.crds.schedule``, its reading in ``signals``; ``plan`` treats all triggers alike.
"""

import kopf

from operators.loop import register as _register
from operators.resources import SCHEDULE


def register(registry: kopf.OperatorRegistry) -> None:
    """Have every DistillationSchedule looked after."""
    from operators.schedule.handlers import reconcile

    _register(registry, SCHEDULE, reconcile)


__all__ = ["register"]
