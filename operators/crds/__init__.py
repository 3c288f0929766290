"""What a user may write: one pydantic model per kind; ``python -m operators.crds`` writes the chart's CRDs from them.

Lives here: ``base`` (model to structural schema) and a module per kind. Does not live here: what a field does (the
kind's ``plan``). To add a field: a line with its sentence in the model, a line in the table of accepted and refused
objects in ``tests/operators/test_crds.py``, then ``python -m operators.crds``.
"""

from operators.crds.base import Kind


def kinds() -> tuple[Kind, ...]:
    """Every kind of the group."""
    from operators.crds.promotion import KIND as PROMOTION
    from operators.crds.run import KIND as RUN
    from operators.crds.schedule import KIND as SCHEDULE
    from operators.crds.teacher import KIND as TEACHER

    return SCHEDULE, RUN, PROMOTION, TEACHER
