"""Starting the pipeline: on this machine through KFP's local runner.

Lives here: everything that needs the kfp package, imported inside functions. Does not live here: the graph
(``pipelines/``, of which the compiled YAML is what runs) and what stages do.
"""
