"""A local, honest stand-in for OpenAI's API: real HTTP through the real SDK, and a bill to compare with.

::

    from assistantguard.sandbox import FunctionCall, Sandbox

    with Sandbox([FunctionCall("lookup", {"order": "W2378156"}), "It is on its way."]) as sandbox:
        client = sandbox.client()
        ...
        assert sandbox.billing.requests == 2

It keeps state (conversations, items, responses, files, vector stores, batches), counts tokens exactly, caches prompts,
enforces rate limits, refuses bad requests with OpenAI's own status and text, and fails on demand. It needs the
`sandbox` extra: ``pip install 'assistantguard[sandbox]'``.
"""

from __future__ import annotations

from assistantguard.sandbox.batches import BatchProcessing
from assistantguard.sandbox.billing import BilledCall, Billing, Totals
from assistantguard.sandbox.conduct import After, Conduct
from assistantguard.sandbox.effects import Ending, Refusal
from assistantguard.sandbox.faults import Fault
from assistantguard.sandbox.rate_limits import AdmittedRequest, RateLimiting, RateLimits
from assistantguard.sandbox.sandbox import Sandbox
from assistantguard.sandbox.script import (
    Answer,
    FileSearch,
    FunctionCall,
    ModelRequest,
    Script,
    Scripted,
    ToolCalls,
    replay,
)
from assistantguard.sandbox.serving import serve
from assistantguard.sandbox.stores import Embedding

__all__ = [
    "AdmittedRequest",
    "After",
    "Answer",
    "BatchProcessing",
    "BilledCall",
    "Billing",
    "Conduct",
    "Embedding",
    "Ending",
    "Fault",
    "FileSearch",
    "FunctionCall",
    "ModelRequest",
    "RateLimiting",
    "RateLimits",
    "Refusal",
    "Sandbox",
    "Script",
    "Scripted",
    "ToolCalls",
    "Totals",
    "replay",
    "serve",
]
