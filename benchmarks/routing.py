"""What routing saves on a workload of easy and hard questions, and what it costs in CPU per turn where it does nothing.

::

    python -m benchmarks.routing [--json]

The workload is played on the sandbox, which bills as the API does, prompt cache included: conversations of ten messages
with users of a shop, three easy ones for each hard one. It is played five times with the same messages and the same
answers: everything on the large model, everything on the small one, routed by rules that weigh the loss of the cache
(hard questions to the large model, all others to the small one; a switch back must pay on the turn, or within three),
and by the same rules without weighing (``stay=False``). ``hard_on_large`` is the share of the hard questions that the
large model answered: the reason not to take the small model for all.

It is played a second time with a document of about 6,000 tokens in each conversation's first message, and without
rotation, where a switch loses more.

``cpu_us`` is the CPU time of asking rules of each kind that choose nothing, which is what such rules add to a turn; and
that of a whole turn at a canned server in the process, for comparison.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import time
from collections.abc import Callable
from decimal import Decimal
from typing import Any

from assistantguard import (
    Assistant,
    AssistantGuard,
    Budget,
    Downgrade,
    Fallback,
    ForUsers,
    MatchingMessages,
    ModelRouting,
    Otherwise,
    Policy,
    RunState,
    ShortMessages,
    ThreadState,
    TransientRetry,
    WithoutTools,
    default_policies,
    tokens,
)
from assistantguard._blocking import block_on
from assistantguard.engine.asking import Asking
from assistantguard.engine.routing import Routing
from assistantguard.policies import View
from assistantguard.sandbox import ModelRequest, Sandbox
from benchmarks._sides import assistant
from benchmarks.canned import CannedServer

__all__ = ["main", "measure", "measure_cpu", "measure_saving"]

LARGE, SMALL = "gpt-5", "gpt-5-mini"
INSTRUCTIONS = (
    "You are the support assistant of a kitchen shop. Answer in a few plain sentences. Compare devices by what the user"
    " needs them for. Never invent a number; where you are not sure, say so and ask. "
) * 50
EASY = ("Where is my order {n}?", "When are you open on day {n}?", "Do you ship to region {n}?")
HARD = (
    "Please compare the espresso machine {n} with the filter machine: why would I pay twice as much, if I drink three"
    " cups in the morning, have hard water, and want to keep it for ten years?"
)
SHORT_ANSWER = "It is on its way, and should be at your door by Thursday noon."
LONG_ANSWER = "The pressure, the pump and the grinder make the difference, and hard water decides how long. " * 5
DOCUMENT = "Page {n} of the manual: fill the tank, rinse the filter, and descale after two hundred cups. " * 280
PLAIN = "Thank you. And the parcel, when is it going to be here? I am at home on Thursday morning only."


def answer(request: ModelRequest) -> str:
    """Long answers to hard questions, short ones to easy ones."""
    return LONG_ANSWER if "compare" in request.last_user_text else SHORT_ANSWER


def messages(conversation: int, turns: int) -> list[str]:
    """What is said in a conversation: every fourth message is hard."""
    said: list[str] = []
    for turn in range(turns):
        kind = (conversation + turn) % 4
        said.append((HARD if kind == len(EASY) else EASY[kind]).format(n=100 * conversation + turn))
    return said


def rules() -> list[Any]:
    """Hard questions to the large model, all others to the small one."""
    return [MatchingMessages(r"\b(compare|why)\b", LARGE), Otherwise(SMALL)]


def measure_saving(conversations: int = 8, turns: int = 10, *, document: bool = False) -> dict[str, dict[str, Any]]:
    """Play the workload with each way to choose a model; figures by way.

    Args:
        conversations: Conversations, all of them under way at once.
        turns: Messages of each.
        document: Whether each begins with a document, and none is rotated.
    """
    tokens.wait_until_ready()
    ways: dict[str, tuple[str, list[Policy]]] = {
        "large": (LARGE, []),
        "small": (SMALL, []),
        "routed": (LARGE, [ModelRouting(rules())]),
        "routed_within_3": (LARGE, [ModelRouting(rules(), pays_within=3)]),
        "routed_unweighed": (LARGE, [ModelRouting(rules(), stay=False)]),
    }
    rows = {
        way: _play(model, policies, conversations, turns, document=document) for way, (model, policies) in ways.items()
    }
    dearest = Decimal(rows["large"]["cost"])
    for row in rows.values():
        row["saved"] = round(1 - float(Decimal(row["cost"]) / dearest), 4)
    return rows


def _play(model: str, policies: list[Policy], conversations: int, turns: int, *, document: bool) -> dict[str, Any]:
    hard = on_large = 0
    all_policies = [*([TransientRetry()] if document else default_policies()), *policies]
    with Sandbox(answer, model_in_thread=False) as sandbox:
        bot = AssistantGuard(sandbox.client(), Assistant(model, INSTRUCTIONS), all_policies, sinks=[])
        threads = [bot.thread() for _ in range(conversations)]
        said = [messages(number, turns) for number in range(conversations)]
        for number, texts in enumerate(said if document else ()):
            texts[0] = DOCUMENT.format(n=number) + texts[0]
        for turn in range(turns):
            for thread, texts in zip(threads, said, strict=True):
                reply = thread.chat(texts[turn])
                if "compare" in texts[turn]:
                    hard += 1
                    on_large += reply.run.model == LARGE
        bot.close()
        totals, cost = sandbox.billing.totals, sandbox.billing.cost
        by_model = {name: sums.requests for name, sums in sandbox.billing.by_model.items()}
    assert cost is not None
    return {
        "cost": str(cost),
        "requests": by_model,
        "input_tokens": totals.input_tokens,
        "cached_tokens": totals.cached_tokens,
        "output_tokens": totals.output_tokens,
        "hard_on_large": round(on_large / hard, 4),
    }


def _nothing(view: View) -> None:
    """A user's own rule, which looks at the turn and leaves it to the next one."""
    assert view.message


def idle_rules() -> list[Any]:
    """Rules of each kind that choose nothing for a plain turn of the canned assistant."""
    return [
        ForUsers({"nobody": SMALL}),
        ShortMessages(SMALL, max_tokens=10),
        MatchingMessages(r"\b(compare|why)\b", SMALL),
        WithoutTools(SMALL),
        _nothing,
        Fallback(SMALL),
    ]


def measure_cpu(batches: int = 30) -> dict[str, float]:
    """Measure what rules that choose nothing add to a turn, in microseconds of CPU time.

    Args:
        batches: Batches of 100 turns whose rules are asked; the median batch counts.
    """
    tokens.wait_until_ready()
    budget = Budget("application", tokens=10**12, warn_at=())
    sides: dict[str, list[Policy]] = {
        "rules": [ModelRouting(idle_rules())],
        "rules_and_downgrade": [ModelRouting([*idle_rules(), Downgrade(SMALL)]), budget],
    }
    figures: dict[str, float] = {}
    for side, policies in sides.items():
        bot = AssistantGuard(CannedServer().client(), assistant(), [*default_policies(), *policies], sinks=[])
        turns = [_timed(lambda: bot.chat(PLAIN)) for _ in range(100)]  # noqa: B023 - it is called at once
        figures["turn"] = round(statistics.median(turns), 1)
        engine = bot._engine  # noqa: SLF001 - what a turn asks is asked without the rest of the turn
        routing = Routing(engine.session, engine.driver, Asking(engine.session, engine.driver))
        thread = ThreadState("thread", generation_id="conv", context_tokens=2_000, context_known=True)
        run = RunState("run", "thread", engine.session.assistant.model)
        taken = [_timed(lambda: _ask(routing, thread, run), 100) for _ in range(batches)]  # noqa: B023 - likewise
        figures[side] = round(statistics.median(taken), 1)
        bot.close()
    return figures


def _ask(routing: Routing, thread: ThreadState, run: RunState) -> None:
    if block_on(routing.choose(thread, run, PLAIN)) is not None:
        raise RuntimeError("a rule that shall choose nothing chose something")


def _timed(work: Callable[[], object], times: int = 1) -> float:
    """Microseconds of this thread's CPU time."""
    gc.collect(0)
    began = time.thread_time()
    for _ in range(times):
        work()
    return (time.thread_time() - began) / times * 1e6


def measure() -> dict[str, Any]:
    """All figures."""
    return {
        "saving": measure_saving(),
        "saving_with_documents": measure_saving(document=True),
        "cpu_us": measure_cpu(),
    }


def show(figures: dict[str, Any]) -> None:
    """Print them as two tables."""
    for table in ("saving", "saving_with_documents"):
        print(
            f"{table.replace('_', ' '):<22}{'US dollars':>12}{'saved':>8}{'hard on large':>15}{'cached':>8}  requests"
        )
        for way, row in figures[table].items():
            cached = row["cached_tokens"] / row["input_tokens"]
            made = ", ".join(f"{model} {count}" for model, count in row["requests"].items())
            shown = f"{Decimal(row['cost']):>12.6f}{row['saved']:>8.0%}{row['hard_on_large']:>15.0%}{cached:>8.0%}"
            print(f"{way:<22}{shown}  {made}")
        print()
    cpu = figures["cpu_us"]
    print(
        f"CPU per turn: {cpu['turn']:.0f} µs; rules that choose nothing are {cpu['rules']:.1f} µs of it, with a"
        f" downgrade that looks at a budget {cpu['rules_and_downgrade']:.1f} µs."
    )


def main(arguments: list[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    options = parser.parse_args(arguments)
    figures = measure()
    if options.json:
        print(json.dumps(figures))
    else:
        show(figures)


if __name__ == "__main__":
    main()
