"""What is minimised: one objective, one file.

Lives here: pure functions of logits and targets, each under a thin class with ``needs`` and ``loss``. Does not live
here: how logits come to be (``training.forward``) or what happens with a loss (``training.loop``). To add one, see
``stillhouse.training``.
"""
