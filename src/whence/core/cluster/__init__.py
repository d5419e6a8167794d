"""Which of several nodes registers which trunk: leases, slots, hand-over, failsafe.

At no instant do two nodes act on one slot. After faults end, a living node holds each slot.

No rule compares clocks of two machines. `now` and `sent` are instants of the caller's own clock. It
counts seconds, never steps, and runs while the machine sleeps (`CLOCK_BOOTTIME`).
"""
