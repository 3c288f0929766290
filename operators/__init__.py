"""The operator: schedules, runs, promotions and teachers as Kubernetes resources.

Lives here: ``crds`` (what a user may write: one pydantic model per kind), for each kind a folder with ``plan`` (what
should be, decided purely), ``status`` (what is, folded purely) and ``handlers`` (thin), and what they share: ``kube``,
``kfp`` and ``mlflow`` (REST), ``loop`` (one reconciler per object), ``errors``, ``resources``, ``metrics``, ``logs``,
``health``. Does not live here: what a stage computes, how a recipe is resolved (the command ``stillhouse submit``, run
as a child process), how the operator is installed (``charts/stillhouse``). Idle it holds neither torch nor kfp nor
mlflow in memory.

Every handler is level-triggered: it looks at what is, decides what should be, and writes the difference. It may run
twice, at any time and after any crash. To add a kind: a model in ``crds``, a folder like ``schedule``, a name in
``app.KINDS``, and the kind's rights in the chart's role.
"""
