"""TeacherServer: a teacher is served while a pod needs it, and gone when none does.

Lives here: ``plan`` (how many replicas, and until when), ``pod`` and ``manifests`` (what they consist of), ``status``
(what is), ``trouble`` (why it does not start), ``completion`` (the real completion that makes one ready), ``handlers``
(thin), and the two scripts that run inside the server's pods (``scripts``). Does not live here: what may be written
(``operators.crds.teacher``), who needs a teacher (the label that ``stillhouse submit`` puts on a run's pods), waiting
for it (``stillhouse.teachers.waiting``). To add a field: a line in the CRD's model, a line in ``pod`` or ``manifests``,
a row in the table of ``tests/operators/test_teacher_manifests.py``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import kopf


def register(registry: kopf.OperatorRegistry) -> None:
    """Look after every TeacherServer."""
    from operators.teacher import handlers

    handlers.register(registry)
