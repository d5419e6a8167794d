"""What a node sends after it took up registrations of another node: CSeq and pace."""

from __future__ import annotations

CSEQ_EPOCH = 1_577_836_800
"""2020-01-01 in Unix time: the zero of the CSeq bands."""

CSEQ_STEP = 65_536
"""How far the CSeq rises if a registrar rejects the first one after a take-up."""

CSEQ_LIMIT = 2**31 - 1
"""RFC 3261 8.1.1.5: a CSeq is less than 2**31."""


def cseq_at_take_up(stored: int, now: float) -> int:
    """Return the CSeq from which a new holder counts on. The Call-ID stays for life.

    `stored` is the last CSeq in the rows, which may lack the last requests. `now` is Unix time. A
    trunk sends less than one REGISTER a second. So the seconds since 2020 are above each number of
    the former holder. The registrar then rejects its late requests (RFC 3261 10.3, step 7).

    Raises:
        OverflowError: no number is left below 2**31. The registration needs another Call-ID.
    """
    return _bounded(max(stored, int(now) - CSEQ_EPOCH))


def cseq_after_rejection(cseq: int) -> int:
    """Return the CSeq for one more attempt, after the first one got a 400 or 500.

    Raises:
        OverflowError: as `cseq_at_take_up`.
    """
    return _bounded(cseq + CSEQ_STEP)


def _bounded(cseq: int) -> int:
    if cseq >= CSEQ_LIMIT:
        raise OverflowError(f"CSeq {cseq} leaves no number below 2**31")
    return cseq


def pace_share(rate: float, held: int, slots: int) -> float:
    """Return this node's part of a limit of REGISTERs a second, by the slots that it holds.

    All nodes together never exceed `rate`. A node without slots registers nothing. It gets the part
    of one slot, so that the limit is never zero.

    Raises:
        ValueError: `held` is not within 0 and `slots`.
    """
    if not 0 <= held <= slots:
        raise ValueError(f"{held} of {slots} slots")
    return rate * max(held, 1) / slots
