"""What a rotation takes from the old generation into the new one.

The last turns are carried as they were said. Everything older is boiled down to a digest: the sentences and tool
results that hold the identifiers, numbers, names, questions and answers most likely to be needed again, and a plain
list of further values. A summary written by a model may be added. All of it is user-level data.

Nothing here does I/O, and nothing here knows the language or the domain of the conversation.
"""

from __future__ import annotations

from assistantguard.carryover.build import build_carry_over
from assistantguard.carryover.joining import join_carry_overs
from assistantguard.carryover.summary import summary_prompt
from assistantguard.models.carry_over import CarryOver

__all__ = ["CarryOver", "build_carry_over", "join_carry_overs", "summary_prompt"]
