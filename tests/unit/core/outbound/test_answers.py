"""What the answer of a trunk means."""

import pytest

from whence.core.outbound.answers import (
    NOT_SENT,
    PASS,
    TERMINATED,
    Answer,
    AnswerChallenge,
    FailureReason,
    FinalAnswer,
    Outcome,
    TryNext,
    dialog_answer,
    final_answer,
    initial_answer,
)
from whence.core.outbound.rounds import Rounds
from whence.core.sip.digest import Challenge, Credentials
from whence.core.sip.secret import Secret

CREDENTIALS = Credentials("acct1", Secret("secret"))
CHALLENGE = Challenge("provider.example", "n1")
NO_ROUNDS = Rounds()
ASKED = FinalAnswer(407, (CHALLENGE,), from_trunk=True)


def initial(answer: FinalAnswer, rounds: Rounds = NO_ROUNDS, *, canceled: bool = False) -> Outcome:
    return initial_answer(answer, rounds, CREDENTIALS, canceled=canceled)


def in_dialog(answer: FinalAnswer, *, to_trunk: bool = True) -> Outcome:
    return dialog_answer(answer, Rounds(), CREDENTIALS, to_trunk=to_trunk)


@pytest.mark.parametrize("status", [486, 404, 484, 480, 487, 488, 410, 420, 600, 603, 604, 606])
def test_refusal_of_called_party_passes(status: int) -> None:
    assert initial(FinalAnswer(status, from_trunk=True)) == PASS


@pytest.mark.parametrize(
    ("answer", "reason", "status"),
    [
        (FinalAnswer(500), FailureReason.SERVER_ERROR, 500),
        (FinalAnswer(502), FailureReason.SERVER_ERROR, 502),
        (FinalAnswer(503), FailureReason.UNAVAILABLE, 500),
        (FinalAnswer(504), FailureReason.SERVER_ERROR, 504),
        (FinalAnswer(599), FailureReason.SERVER_ERROR, 599),
        (FinalAnswer(408), FailureReason.TIMED_OUT, 408),
        (FinalAnswer(408, timed_out=True), FailureReason.NO_ANSWER, 408),
        (
            FinalAnswer(408, timed_out=True, had_provisional=True),
            FailureReason.TIMED_OUT,
            408,
        ),
        (FinalAnswer(403), FailureReason.FORBIDDEN, 403),
    ],
)
def test_failure_of_trunk_tries_next(
    answer: FinalAnswer, reason: FailureReason, status: int
) -> None:
    outcome = initial(answer)
    assert isinstance(outcome, TryNext)
    assert (outcome.reason, outcome.status) == (reason, status)
    assert outcome.phrase


@pytest.mark.parametrize("status", [300, 301, 302, 305, 380])
def test_redirect_is_answered_by_480(status: int) -> None:
    assert initial(FinalAnswer(status, from_trunk=True)) == Answer(480, "Temporarily Unavailable")


@pytest.mark.parametrize("status", [401, 407])
def test_challenge_of_trunk_is_answered(status: int) -> None:
    challenge = Challenge("r", "n", proxy=status == 407)
    outcome = initial(FinalAnswer(status, (challenge,), from_trunk=True))
    assert isinstance(outcome, AnswerChallenge)
    assert outcome.rounds.tries == 1


def test_challenge_from_elsewhere_gets_no_digest() -> None:
    outcome = initial(FinalAnswer(407, (CHALLENGE,), from_trunk=False))
    assert isinstance(outcome, TryNext)
    assert outcome.reason is FailureReason.CHALLENGE_FROM_ELSEWHERE
    assert not outcome.reason.is_of_trunk


def test_second_challenge_is_wrong_password_and_tries_next() -> None:
    first = initial(ASKED)
    assert isinstance(first, AnswerChallenge)
    outcome = initial(ASKED, first.rounds)
    assert isinstance(outcome, TryNext)
    assert outcome.reason is FailureReason.CREDENTIALS_REJECTED


@pytest.mark.parametrize("status", [401, 407, 403, 408, 500, 503])
def test_canceled_call_rings_no_further_trunk(status: int) -> None:
    assert initial(FinalAnswer(status, (CHALLENGE,), True), canceled=True) == TERMINATED


@pytest.mark.parametrize("status", [487, 486, 603])
def test_answer_to_canceled_call_passes(status: int) -> None:
    assert initial(FinalAnswer(status, from_trunk=True), canceled=True) == PASS


@pytest.mark.parametrize("canceled", [True, False])
@pytest.mark.parametrize("from_trunk", [True, False])
def test_phone_gets_no_challenge_redirect_or_503(canceled: bool, from_trunk: bool) -> None:
    for status in range(300, 700):
        final = FinalAnswer(status, (), from_trunk)
        for outcome in (initial(final, canceled=canceled), in_dialog(final)):
            answer = final_answer([outcome]) if isinstance(outcome, TryNext) else outcome
            shown = answer.status if isinstance(answer, Answer) else status
            assert shown >= 400
            assert shown not in (401, 407, 503)


def test_challenge_in_dialog_is_answered() -> None:
    assert isinstance(in_dialog(ASKED), AnswerChallenge)


@pytest.mark.parametrize(
    "answer",
    [
        FinalAnswer(401, (CHALLENGE,), from_trunk=False),
        FinalAnswer(407, (), from_trunk=True),
        FinalAnswer(407, (Challenge("r", "n", "X"),), from_trunk=True),
    ],
)
def test_challenge_in_dialog_without_answer_is_403(answer: FinalAnswer) -> None:
    assert in_dialog(answer) == Answer(403, "Forbidden")


@pytest.mark.parametrize("status", [401, 407, 302, 486, 500])
def test_answer_of_phone_in_dialog_passes(status: int) -> None:
    assert in_dialog(FinalAnswer(status), to_trunk=False) == PASS


@pytest.mark.parametrize("status", [403, 408, 481, 486, 491, 500, 504])
def test_other_answer_in_dialog_passes(status: int) -> None:
    assert in_dialog(FinalAnswer(status)) == PASS


def test_final_answer_is_of_last_trunk_that_got_call() -> None:
    busy = TryNext(FailureReason.FORBIDDEN, 403, "Forbidden")
    silent = TryNext(FailureReason.NO_ANSWER, 408, "Request Timeout")
    assert final_answer([busy, silent]) == Answer(408, "Request Timeout")
    assert final_answer([busy, silent, NOT_SENT]) == Answer(408, "Request Timeout")
    assert final_answer([NOT_SENT]).status == 500
    assert final_answer([]).status == 500


def test_failure_of_number_is_no_failure_of_trunk() -> None:
    number = {FailureReason.FORBIDDEN, FailureReason.SERVER_ERROR, FailureReason.TIMED_OUT}
    assert not any(reason.is_of_trunk for reason in number)
    assert FailureReason.NO_ANSWER.is_of_trunk
    assert FailureReason.NOT_SENT.is_of_trunk
    assert FailureReason.UNAVAILABLE.is_of_trunk
