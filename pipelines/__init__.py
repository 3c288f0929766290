"""Which stages run, in what order. ``python -m pipelines`` compiles ``distillation.yaml``, the file that runs.

Lives here: the graph and the descriptions of its parameters. Does not live here: what a stage does
(``stillhouse``) or how it looks to KFP (``components``).
"""
