"""How a stage looks to Kubeflow Pipelines: a signature and one call, one folder per stage.

Lives here: ``<stage>/component.py`` (typed artifacts, a docstring that the KFP UI shows), ``metadata.yaml`` and
``README.md``. Does not live here: logic, which belongs to ``stillhouse.<stage>``. To add a stage: copy a folder,
change the signature, add the function to ``stillhouse.entry.FUNCTIONS`` and the task to ``pipelines``.
"""
