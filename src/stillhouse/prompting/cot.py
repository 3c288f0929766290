"""Plain chain of thought: one turn, thoughts and answer split by the project's one parser."""

from __future__ import annotations

from stillhouse.models.requests import Message, Reply
from stillhouse.reasoning import Reply as Parsed
from stillhouse.reasoning import split_reply
from stillhouse.recipe.traces import CotPrompter as CotConfig
from stillhouse.records import Problem


class CotPrompter:
    """The problem in the template's place, after a system message if there is one."""

    def __init__(self, config: CotConfig) -> None:
        self.config = config

    def render(self, problem: Problem) -> list[Message]:
        # Not str.format: templates and problems are full of braces (\boxed{}).
        question: Message = {"role": "user", "content": self.config.template.replace("{prompt}", problem.prompt)}
        return [{"role": "system", "content": self.config.system}, question] if self.config.system else [question]

    def parse(self, reply: Reply) -> Parsed:
        return split_reply(reply.text, reply.reasoning_content)
