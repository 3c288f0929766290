"""Teachers: whoever answers chat requests.

Lives here: ``base`` (the contract, and ``open_teacher``), one module per backend. Does not live here: what is asked
(``prompting``), which answers are kept (``filtering``), who is chosen (``selection``). To add a backend: a config
with a ``card`` in ``stillhouse.recipe.teacher`` and its name in that module's union, a class with the contract of
``base.Teacher`` in a module here, a line in ``stillhouse.plugins.TEACHERS``, and a test against something real (a
local server, a tiny model).
"""
