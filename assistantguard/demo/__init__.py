"""``assistantguard demo``: sixty turns with a support bot, with a guard and without one, and the two bills.

The conversation ships with the package. It is played against the sandbox with a scripted model, so it needs neither a
key nor a network; every figure comes from the sandbox's bill. With ``--live`` a short form of it talks to OpenAI.

It needs the `cli` and `sandbox` extras.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["run"]


def run(live: bool = False, *, model: str | None = None, console: Console | None = None) -> int:
    """Run the demo and return the exit code: 0 done; 1 the live run failed; 2 there is no key for it.

    Args:
        live: Talk to OpenAI with the key in ``OPENAI_API_KEY``, under a cap of a few cents.
        model: Model of the live run; None takes ``ASSISTANTGUARD_DEMO_MODEL``, or a cheap one.
        console: Where to print; None is standard output.

    Raises:
        ConfigurationError: The data file is broken, a package of the extras is missing, or the live model has no
            known price.
    """
    from assistantguard.demo.live import play_live
    from assistantguard.demo.play import play
    from assistantguard.demo.stage import Stage
    from assistantguard.demo.story import load_story

    stage, story = Stage(console), load_story()
    if live:
        return play_live(story, stage, model)
    play(story, stage)
    return 0
