"""How a problem becomes a question and a reply becomes thoughts and an answer.

Lives here: ``base`` (the contract), one module per way of asking. Does not live here: chat templates
(``models.chat``), verdicts on answers (``filtering``). To add one: a config with a ``card`` in
``stillhouse.recipe.traces`` and its name in that module's union, a class with the contract of ``base.Prompter``, a
line in ``stillhouse.plugins.PROMPTERS``, a test with a problem and a reply written by hand.
"""
