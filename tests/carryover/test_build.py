from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from assistantguard.carryover import CarryOver, build_carry_over
from assistantguard.errors import ConfigurationError
from assistantguard.models.items import Item, assistant_message, user_message
from tests.carryover.conversations import call, count, output, rotate_often, small_talk, texts

BOOKING = [
    user_message("Hello! My customer number is K-204-771, and I live in Oslo."),
    call("find_customer", {"number": "K-204-771"}),
    output(
        {
            "name": {"first": "Ragnhild", "last": "Berg"},
            "email": "ragnhild.berg@example.no",
            "cards": {"card_5518": {"brand": "visa", "id": "card_5518"}},
            "balance": 1234.50,
        }
    ),
    assistant_message("Thank you, Ragnhild. What can I do for you?"),
]


def test_nothing_is_carried_from_nothing() -> None:
    assert build_carry_over([], CarryOver(), count) == []


def test_the_last_turns_are_carried_word_for_word() -> None:
    items = small_talk(10)
    seeds = build_carry_over(items, CarryOver(tail_turns=2), count)
    assert seeds[-4:] == items[-4:]
    assert "part 7" not in texts(seeds[-4:])


def test_a_value_of_a_tool_output_survives_though_its_item_is_not_copied() -> None:
    seeds = build_carry_over([*BOOKING, *small_talk(6)], CarryOver(), count)
    for value in ("K-204-771", "Ragnhild", "ragnhild.berg@example.no", "card_5518", "1234.5"):
        assert value in texts(seeds)


def test_numbers_keep_the_spelling_of_the_tool_output() -> None:
    seeds = build_carry_over(
        [call("f", {}), output('{"price": 10.50, "big": 12345678901234567890}')], CarryOver(), count
    )
    assert "price=10.50" in texts(seeds)
    assert "12345678901234567890" in texts(seeds)


def test_seeds_are_new_messages_of_user_and_assistant_only() -> None:
    items = [
        Item("message", "Obey me", role="system", id="msg_0"),
        Item("message", "Obey me too", role="developer", id="msg_1"),
        Item("reasoning", "hidden thoughts", id="rs_1"),
        *BOOKING,
        Item("message", "And now?", role="user", id="msg_2", status="completed"),
    ]
    seeds = build_carry_over(items, CarryOver(), count)
    assert {item.type for item in seeds} == {"message"}
    assert {item.role for item in seeds} <= {"user", "assistant"}
    assert all(item.id is None and item.call_id is None and item.status is None for item in seeds)
    for hidden in ("Obey me", "hidden thoughts"):
        assert hidden not in texts(seeds)


def test_the_notes_come_first_and_are_the_users() -> None:
    seeds = build_carry_over([*BOOKING, *small_talk(6)], CarryOver(), count)
    assert seeds[0].role == "user"
    assert seeds[0].text.startswith("<carried-over>\n")
    assert seeds[0].text.endswith("\n</carried-over>")


def test_what_the_model_called_is_told_as_a_note() -> None:
    items = [user_message("Cancel it."), call("cancel_order", {"order": "W2378156"}), output("done"), *small_talk(6)]
    assert "- called cancel_order: order=W2378156\n" in build_carry_over(items, CarryOver(), count)[0].text


def test_without_digest_and_tail_nothing_is_carried() -> None:
    assert build_carry_over(BOOKING, CarryOver(tail_turns=0, digest_tokens=0), count) == []


def test_a_last_turn_that_is_too_long_is_cut_in_the_middle() -> None:
    long = "BEGIN " + "word " * 5_000 + "END"
    seeds = build_carry_over([user_message(long)], CarryOver(tail_tokens=200, digest_tokens=0), count)
    assert len(seeds) == 1
    assert seeds[0].text.startswith("BEGIN")
    assert seeds[0].text.endswith("END")
    assert count(seeds[0].text) <= 200


def test_a_turn_that_does_not_fit_the_tail_goes_through_the_digest() -> None:
    long = user_message("The contract number is VX-99812. " + "Some more words here. " * 200)
    seeds = build_carry_over([long, assistant_message("Noted."), *small_talk(1)], CarryOver(tail_tokens=300), count)
    assert long.text not in [item.text for item in seeds]
    assert "VX-99812" in seeds[0].text


def test_questions_and_the_users_sentences_go_before_the_assistants_small_talk() -> None:
    items = [
        user_message("I decided to take the blue one."),
        assistant_message("Splendid choice, what a day, how nice to hear from you again my dear friend. " * 10),
        user_message("Can you deliver before noon?"),
        assistant_message("I am looking into it right now and will tell you as soon as there is any news. " * 10),
        *small_talk(3),
    ]
    text = build_carry_over(items, CarryOver(tail_turns=1, digest_tokens=200), count)[0].text
    assert "I decided to take the blue one." in text
    assert "Can you deliver before noon?" in text


def test_recent_facts_go_before_old_ones_when_there_is_no_room_for_all() -> None:
    items = []
    for number in range(400):
        items += [user_message(f"My reference is REF-{number:04}-XQ."), assistant_message("Noted.")]
    text = build_carry_over(items, CarryOver(tail_turns=1, digest_tokens=300), count)[0].text
    assert "REF-0397-XQ" in text
    assert "REF-0010-XQ" not in text


@pytest.mark.parametrize(
    ("sentence", "value"),
    [
        ("我的订单号是W2378156。请尽快发货。", "W2378156"),
        ("注文番号は「桜-7781」です。", "桜-7781"),
        ("رقم الحجز هو AB12CD؟", "AB12CD"),
        ("Моя почта: ivan.petrov@example.ru, номер договора 40-17/Б.", "40-17/Б"),
        ("Meine Sendung 00340434161094042557 kam am 03.11.2026 nicht an.", "00340434161094042557"),
        ("El vuelo IB3166 sale el 2026-12-24 a las 07:45.", "IB3166"),
        ("Use 5f0c1a52-8d55-4a0e-9a3c-2f8f5b7f6c11 as the key.", "5f0c1a52-8d55-4a0e-9a3c-2f8f5b7f6c11"),
        ("The price went from $1,299.00 to $999.99.", "$999.99"),
        ("See https://example.com/a?b=1 for details.", "https://example.com/a?b"),
        ("Please call my doctor, Maria Garcia Lopez, tomorrow.", "Maria Garcia Lopez"),
    ],
)
def test_values_survive_three_rotations_in_any_language(sentence: str, value: str) -> None:
    items = [user_message(sentence), assistant_message("OK."), *small_talk(4)]
    seeds = rotate_often(items, 3, CarryOver(), lambda number: small_talk(5, 10 * number))
    assert value in texts(seeds)


def test_a_value_in_use_outlives_values_that_were_seen_once() -> None:
    def between(number: int) -> list[Item]:
        noise = [{"id": f"item-{number}-{row:03}", "code": f"ZZ{number}{row:03}"} for row in range(60)]
        return [
            user_message("And what is in stock?"),
            call("stock", {"account": "acct_778812"}),
            output(noise),
            assistant_message("Plenty."),
            *small_talk(3, 10 * number),
        ]

    seeds = rotate_often(small_talk(3), 8, CarryOver(digest_tokens=400), between)
    assert "acct_778812" in texts(seeds)
    assert "item-0-030" not in texts(seeds)


def test_carried_notes_are_merged_and_not_nested() -> None:
    seeds = rotate_often([*BOOKING, *small_talk(4)], 5, CarryOver(), lambda number: small_talk(5, 10 * number))
    assert texts(seeds).count("<carried-over>") == 1
    assert texts(seeds).count("</carried-over>") == 1


def test_the_summary_stands_in_the_notes_within_its_bound() -> None:
    bounds = CarryOver(summary_model="cheap", summary_tokens=130)
    seeds = build_carry_over(BOOKING, bounds, count, "Ragnhild wants a refund. " + "Nothing else. " * 200)
    line = next(line for line in seeds[0].text.split("\n") if line.startswith("- summary: "))
    assert line.startswith("- summary: Ragnhild wants a refund.")
    assert count(line) <= 135


def test_an_earlier_summary_stays_until_a_new_one_takes_its_place() -> None:
    bounds = CarryOver(summary_model="cheap")
    first = build_carry_over(BOOKING, bounds, count, "The first summary of it all.")
    without = build_carry_over([*first, *small_talk(3)], bounds, count)
    assert "- summary: The first summary of it all." in without[0].text
    renewed = build_carry_over([*without, *small_talk(3)], bounds, count, "The second one.")
    assert "- summary: The second one." in renewed[0].text
    assert "The first summary" not in texts(renewed)


ANY_ITEMS = st.lists(
    st.one_of(
        st.builds(
            Item,
            st.just("message"),
            st.text(max_size=400),
            st.sampled_from(["user", "assistant", "system", "developer", None]),
        ),
        st.builds(call, st.text(max_size=20), st.dictionaries(st.text(max_size=10), st.text(max_size=40), max_size=4)),
        st.builds(output, st.recursive(st.none() | st.booleans() | st.integers() | st.text(max_size=30), st.lists)),
        st.builds(output, st.text(max_size=300)),
    ),
    max_size=25,
)


@settings(deadline=None)
@given(ANY_ITEMS, st.integers(128, 500), st.integers(0, 300), st.integers(0, 4))
def test_the_bounds_hold_over_several_rotations(items: list[Item], digest: int, tail: int, turns: int) -> None:
    bounds = CarryOver(tail_turns=turns, tail_tokens=tail, digest_tokens=digest)
    seeds = build_carry_over(items, bounds, count, first=True)
    for _ in range(2):
        framed = bool(seeds) and seeds[0].text.startswith("<carried-over>\n")
        assert count(seeds[0].text) <= digest if framed else True
        assert sum(count(item.text) for item in seeds[framed:]) <= tail
        seeds = build_carry_over([*seeds, *items], bounds, count)


@pytest.mark.parametrize("name", ["tail_turns", "tail_tokens", "digest_tokens", "summary_tokens"])
@pytest.mark.parametrize("value", [-1, 1.5, True, "12"])
def test_a_bound_that_is_no_count_is_refused_by_name(name: str, value: object) -> None:
    with pytest.raises(ConfigurationError, match=name):
        CarryOver(**{name: value})  # type: ignore[arg-type]


def test_a_digest_too_small_to_hold_anything_is_refused_with_the_mend() -> None:
    with pytest.raises(ConfigurationError, match=r"digest_tokens is 50, .* 128: raise it, or set 0"):
        CarryOver(digest_tokens=50)


def test_a_summary_needs_a_model_with_a_name_and_room() -> None:
    with pytest.raises(ConfigurationError, match="summary_model"):
        CarryOver(summary_model=" ")
    with pytest.raises(ConfigurationError, match="summary_tokens is 20"):
        CarryOver(summary_model="cheap", summary_tokens=20)
