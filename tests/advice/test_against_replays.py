"""What advice says that changes save is what they save when the same traffic is played with them."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks._advise_replay import Compared, compare
from benchmarks._advise_traffic import Traffic, faq, letters, recorded, shop, soak
from tests.replay.chats import order_file

CONVERSATIONS = Path(__file__).parents[2].parent / "shared" / "conversations"


def followed(traffic: Traffic) -> dict[str, Compared]:
    _, compared = compare(traffic)
    for each in compared:
        assert each.off is not None
        assert each.off <= 0.1, f"{each.suggestion.kind}: {each.suggestion.saving} computed, {each.replayed} replayed"
    return {each.suggestion.kind: each for each in compared}


@pytest.mark.parametrize(
    ("traffic", "kinds"),
    [
        (soak(2, 25), {"step_ceiling"}),
        (letters(4), {"cache_writes"}),
        (faq(16), {"cache_minimum", "cheaper_model"}),
        (shop(5), {"cache_prefix", "cheaper_model", "step_ceiling"}),
    ],
    ids=lambda value: value.name if isinstance(value, Traffic) else "",
)
def test_the_saving_that_is_computed_of_events_is_within_a_tenth_of_the_replayed_one(
    warm: None, traffic: Traffic, kinds: set[str]
) -> None:
    assert kinds <= set(followed(traffic))


def test_the_saving_that_is_computed_of_conversations_is_within_a_tenth_of_the_replayed_one(
    warm: None, tmp_path: Path
) -> None:
    assert "rotation" in followed(recorded(order_file(tmp_path, 8), chain=8, model="gpt-4o"))


@pytest.mark.skipif(not CONVERSATIONS.is_dir(), reason="no recorded conversations beside this checkout")
@pytest.mark.parametrize(("name", "kinds"), [("tooltalk", {"topics"}), ("airline", {"rotation", "step_ceiling"})])
def test_the_saving_on_recorded_conversations_is_within_a_tenth_of_the_replayed_one(
    warm: None, name: str, kinds: set[str]
) -> None:
    assert kinds <= set(followed(recorded(CONVERSATIONS / f"{name}.jsonl", chain=10, most=10)))
