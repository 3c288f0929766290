"""Starting the pipeline: on this machine through KFP's local runner, or on Kubernetes.

Lives here: everything that needs the kfp package, imported inside functions. ``local`` runs the compiled file here;
``placement`` and ``pods`` place it for a cluster; ``endpoint``, ``client`` and ``answers`` speak to KFP; ``once``
starts nothing twice; ``submit`` and ``follow`` are the verbs; ``doctor`` and ``kube_look`` look; ``trainjob*`` and
``kube_jobs`` are the launcher of trainings on many nodes. Does not live here: the graph (``pipelines/``, of which the
compiled YAML is what runs) and what stages do.
"""
