"""What a user can say: the pydantic schema of a recipe. Torch-free; loads in a blink.

Lives here: one module per part of a recipe (``data``, ``teacher``, ``traces``, ``filtering``, ``training``,
``evaluation``), ``schema`` (the whole), ``stages`` (one config per stage), ``load`` (YAML, environment,
``--set``), ``check`` (impossible combinations) and ``resolve`` (digests). Does not live here: anything that is
computed. To add a plug-in: a config class with a ``card`` in the part's module, its name in that module's
union, a line in ``stillhouse.plugins``, a test.
"""

from stillhouse.recipe.base import Card, Config, Custom
from stillhouse.recipe.schema import Recipe

__all__ = ["Card", "Config", "Custom", "Recipe"]
