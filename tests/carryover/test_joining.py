"""Carry-overs of several conversations made one."""

from __future__ import annotations

from assistantguard.carryover import CarryOver, build_carry_over, join_carry_overs
from assistantguard.carryover.frame import is_frame
from assistantguard.models import Item, assistant_message, user_message

SETTINGS = CarryOver(tail_turns=1, tail_tokens=200, digest_tokens=300)


def words(text: str) -> int:
    return len(text.split())


def carried(*messages: str) -> list[Item]:
    items = [item for text in messages for item in (user_message(text), assistant_message(f"Noted: {text}"))]
    return build_carry_over(items, SETTINGS, words, first=True)


def test_all_notes_stand_in_one_block_before_all_that_was_said() -> None:
    bills = carried("My customer number is KD-48213.", "The bill is too high.")
    parcels = carried("Parcel PX-77120 is late.", "It is blue.")
    joined = join_carry_overs([bills, parcels])
    assert [is_frame(item) for item in joined] == [True, False, False, False, False]
    assert "KD-48213" in joined[0].text
    assert "PX-77120" in joined[0].text
    said = [item.text for item in joined[1:]]
    assert said == ["The bill is too high.", "Noted: The bill is too high.", "It is blue.", "Noted: It is blue."]


def test_the_next_carry_over_takes_the_notes_of_both_along() -> None:
    joined = join_carry_overs([carried("I am KD-48213.", "Yes."), carried("It is PX-77120.", "No.")])
    again = build_carry_over([*joined, user_message("And now?")], SETTINGS, words)
    assert "KD-48213" in again[0].text
    assert "PX-77120" in again[0].text


def test_what_has_no_notes_is_put_together_as_it_is() -> None:
    assert join_carry_overs([]) == []
    assert join_carry_overs([[], [user_message("Hello")]]) == [user_message("Hello")]
    assert join_carry_overs([carried("Hello"), carried("Bye")]) == [*carried("Hello"), *carried("Bye")]
