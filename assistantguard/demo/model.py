"""The demo's model: it knows the script by heart, and of the conversation only what stands in its context."""

from __future__ import annotations

from assistantguard.demo.story import Story, Turn
from assistantguard.sandbox import Answer, FileSearch, FunctionCall, ModelRequest

__all__ = ["ScriptedModel"]


class ScriptedModel:
    """Answers each user message of a story as the script says.

    A turn that needs values from earlier turns is answered only if they stand in the request's context; otherwise the
    model says which one it does not have. So what a rotation loses shows.

    Args:
        story: The script.

    Attributes:
        needed: How many values the turns so far needed from earlier ones.
        missing: Those that were not in the context, as ``(turn from 0, value)``.
    """

    def __init__(self, story: Story) -> None:
        self._story = story
        self._turns = {turn.user: number for number, turn in enumerate(story.turns)}
        self.needed = 0
        self.missing: list[tuple[int, str]] = []

    def __call__(self, request: ModelRequest) -> Answer:
        """Answer one request."""
        number = self._turns.get(request.last_user_text)
        if number is None:
            return Answer(text="How can I help you?")
        turn = self._story.turns[number]
        made = _calls_since_user(request)
        if made == 0 and turn.needs:
            context = request.text
            self.needed += len(turn.needs)
            lost = [value for value in turn.needs if value not in context]
            self.missing += [(number, value) for value in lost]
            if lost:
                return Answer(text="I am sorry, I no longer have that from earlier. Could you repeat it?")
        calls = self._next_calls(turn, made)
        if calls:
            return Answer(tool_calls=calls)
        searches = (FileSearch(turn.search),) if turn.search else ()
        return Answer(text=turn.answer, file_search=searches)

    def _next_calls(self, turn: Turn, made: int) -> list[FunctionCall]:
        if turn.spiral is not None:
            if made >= len(self._story.shops):
                return []
            arguments = {"sku": turn.spiral.sku, "shop": self._story.shops[made]}
            return [FunctionCall(turn.spiral.tool, arguments)]
        for step in turn.steps:
            if made < len(step):
                return [FunctionCall(call.tool, call.arguments) for call in step]
            made -= len(step)
        return []


def _calls_since_user(request: ModelRequest) -> int:
    """How many tool calls the model has made since the last user message."""
    made = 0
    for item in reversed(request.items):
        if item.get("type") == "message" and item.get("role") == "user":
            break
        made += item.get("type") == "function_call"
    return made
