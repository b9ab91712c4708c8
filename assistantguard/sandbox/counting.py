"""What the sandbox bills as tokens: exact counts of the text, plus a fixed frame.

==========================  ==================================================================
each request with a context  3 tokens
instructions                 4 tokens + text
a tool                       8 tokens + its definition as compact JSON
a message                    4 tokens + the text of its parts
a function call              4 tokens + name + arguments
a function call's output     4 tokens + output
an image or a file           765 tokens each, whatever it holds
a reasoning item             nothing as input (its tokens are billed once, as output)
any other item               4 tokens + the item as compact JSON, without its id
==========================  ==================================================================

Texts are counted in o200k_base, the vocabulary of every current model. Output is billed by the same rows, plus the
reasoning tokens.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from assistantguard.tokens import count

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["ATTACHMENT", "FRAME", "REQUEST", "TOOL", "compact", "item_key", "item_tokens", "text_tokens"]

REQUEST = 3
FRAME = 4
TOOL = 8
ATTACHMENT = 765


def compact(value: object) -> str:
    """Return a value as JSON without blanks."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def text_tokens(text: str) -> int:
    """Return the exact number of tokens of a text."""
    return count(text)


def _part_text(part: Mapping[str, Any]) -> str | None:
    for name in ("text", "refusal"):
        if isinstance(part.get(name), str):
            return str(part[name])
    return None


def item_key(item: Mapping[str, Any]) -> str:
    """Return the text that stands for an item in the prompt: equal items have equal keys, whatever their ids."""
    kind = item["type"]
    if kind == "message":
        parts = [_part_text(part) or compact(part) for part in item["content"]]
        return "\x00".join(("message", item["role"], *parts))
    if kind == "function_call":
        return f"function_call\x00{item['call_id']}\x00{item['name']}\x00{item['arguments']}"
    if kind == "function_call_output":
        output = item["output"]
        text = output if isinstance(output, str) else compact(output)
        return f"function_call_output\x00{item['call_id']}\x00{text}"
    return compact({name: value for name, value in item.items() if name != "id"})


def _content_tokens(content: object) -> int:
    if isinstance(content, str):
        return text_tokens(content)
    total = 0
    for part in content if isinstance(content, list) else ():
        text = _part_text(part)
        total += ATTACHMENT if text is None else text_tokens(text)
    return total


def item_tokens(item: Mapping[str, Any]) -> int:
    """Return what an item costs, as input or as output."""
    kind = item["type"]
    if kind == "message":
        return FRAME + _content_tokens(item["content"])
    if kind == "function_call":
        return FRAME + text_tokens(item["name"]) + text_tokens(item["arguments"])
    if kind == "function_call_output":
        return FRAME + _content_tokens(item["output"])
    if kind == "reasoning":
        return 0
    return FRAME + text_tokens(item_key(item))
