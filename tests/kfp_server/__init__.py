"""A Kubeflow Pipelines API server on loopback: real HTTP, real TLS, the v2beta1 contract, no cluster behind it.

``KfpServer`` is what tests use; ``routes`` is the list of what it speaks (compared with the published client in
``test_contract.py``), ``state`` the records behind it, ``faults`` what may go wrong on demand, ``tls`` a certificate
authority of its own. It never runs a pipeline: tests say how runs go on (``finish``, ``set_task``).

    with KfpServer(namespaces={"distil": {"secret"}}, tls=True) as server:
        server.drop_answer_of("create_run")
        ...
        server.finish(run_id, "FAILED", error="train-student: out of memory")
"""

from tests.kfp_server.server import KfpServer

__all__ = ["KfpServer"]
