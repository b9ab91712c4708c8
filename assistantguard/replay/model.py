"""The sandbox's model in a replay: it says what was recorded, and looks at what it was shown."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

from assistantguard.replay.values import holds
from assistantguard.sandbox import Answer, FunctionCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from assistantguard.replay.recording import RecordedStep, RecordedTurn
    from assistantguard.sandbox import ModelRequest

__all__ = ["NO_ANSWER", "NO_OUTPUT", "RecordedModel"]

NO_ANSWER = "(The recording has no answer here.)"
NO_OUTPUT = "(The recording has no output for this call.)"


@dataclass(slots=True)
class RecordedModel:
    """Plays one turn after another. `begin` sets the turn; each request then gets the turn's next answer."""

    turn: RecordedTurn | None = None
    position: int = 0
    """Steps of the turn that were asked for."""
    largest_context: int = 0
    """The most tokens that one request read."""
    values: int = 0
    """Values in tool arguments that had occurred earlier in the thread."""
    values_in_context: int = 0
    """Those of them that stood in what the model was shown (instructions and conversation) when it used them."""

    def begin(self, turn: RecordedTurn) -> None:
        """Play this turn from its start."""
        self.turn = turn
        self.position = 0

    def __call__(self, request: ModelRequest) -> Answer:
        """Answer one request."""
        assert self.turn is not None
        self.largest_context = max(self.largest_context, request.input_tokens)
        steps = self.turn.steps
        if self.position >= len(steps) or not request.may_call_tools:
            return Answer(text=self.turn.answer or NO_ANSWER)
        step = steps[self.position]
        self.position += 1
        self._recall(step, request)
        calls = tuple(FunctionCall(call.name, call.arguments) for call in step.calls)
        return Answer(text=step.text or None, tool_calls=calls)

    def outputs(self) -> list[str]:
        """What the tools answered in the step that was asked for last, call by call."""
        assert self.turn is not None
        calls = self.turn.steps[self.position - 1].calls
        return [NO_OUTPUT if call.output is None else call.output for call in calls]

    def _recall(self, step: RecordedStep, request: ModelRequest) -> None:
        wanted = [value for call in step.calls for value in call.earlier_values]
        if not wanted:
            return
        # Tool schemas are left out: they are the same in every request, whatever was carried over.
        texts = [text for item in reversed(request.items) for text in _texts(item)]
        texts.append(request.instructions or "")
        standing = {value for value in set(wanted) if any(holds(text, value) for text in texts)}
        self.values += len(wanted)
        self.values_in_context += sum(value in standing for value in wanted)


def _texts(item: Mapping[str, object]) -> Iterator[str]:
    """What the model reads of one item of its context."""
    match item:
        case {"type": "message", "content": str(text)}:
            yield text
        case {"type": "message", "content": list(parts)}:
            yield from (part["text"] for part in parts if isinstance(part.get("text"), str))
        case {"type": "function_call", "arguments": str(arguments)}:
            yield arguments
        case {"type": "function_call_output", "output": str(output)}:
            yield output
        case {"type": "function_call_output", "output": output}:
            yield json.dumps(output, ensure_ascii=False)
