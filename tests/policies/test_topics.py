"""When a message is taken for another topic, and when it is not."""

from __future__ import annotations

import pytest

from assistantguard import TopicCheck

BEFORE = (
    "My invoice 4711 of May lists the delivery charge twice, please correct that invoice.",
    "I have corrected invoice 4711: the delivery charge is listed once, and the difference goes to your credit card.",
)


@pytest.mark.parametrize(
    "message",
    [
        "When will the corrected invoice arrive, and is the charge on my card?",
        "And when?",
        "Thanks, that is great help, you really should know how good that was!",
        "I want the deliveries to be charged together with later invoices.",
        "",
        "这和我上次问的完全不同请推荐一家餐厅",
    ],
)
def test_what_goes_on_with_the_topic_or_says_too_little_stays(message: str) -> None:
    assert not TopicCheck().leaves(message, BEFORE)


@pytest.mark.parametrize(
    "message",
    [
        "Recommend three hiking trails near Garmisch suitable for small children.",
        "Welche Wanderwege bei Garmisch eignen sich eigentlich besonders für kleine Kinder?",
    ],
)
def test_what_shares_no_telling_word_leaves(message: str) -> None:
    assert TopicCheck().leaves(message, BEFORE)
    assert not TopicCheck().leaves(message, ())
    assert not TopicCheck().leaves(message, (*BEFORE, message))
    assert not TopicCheck(min_words=20).leaves(message, BEFORE)


def test_how_much_must_be_shared_can_be_set() -> None:
    message = "Does the delivery service in Garmisch accept oversized parcels on Saturdays?"
    assert not TopicCheck(shared=0.1).leaves(message, BEFORE)
    assert TopicCheck(shared=0.5).leaves(message, BEFORE)


def test_ones_own_judgement_goes_before_the_words() -> None:
    assert TopicCheck(judge=lambda message, earlier: "invoice" in message).leaves("My invoice", BEFORE)
    assert not TopicCheck(judge=lambda message, earlier: False).leaves("Recommend hiking trails in May", BEFORE)
