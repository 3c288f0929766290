"""The command ``stillhouse``: one subcommand per verb, thin, with heavy imports inside the commands.

Lives here: ``app`` (the verbs' home and the error boundary), ``run``, ``stages`` (the six, one by one),
``inspect`` (methods, doctor, lineage, compare, promote), ``cluster`` (submit and what follows it) and ``console``
(progress and tables). Does not live here: anything that is computed. Machine output goes to stdout, words for people
go to stderr.
"""

from stillhouse.cli.app import main

__all__ = ["main"]
