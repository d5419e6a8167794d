"""The exceptions of Whence: one root, and one class for each kind of failure.

The core and the edge use this module too. So it imports nothing of Whence, and nothing that does
I/O. A message is a sentence for the operator: it says why, and what to do.
"""

from __future__ import annotations


class WhenceError(Exception):
    """The root of all exceptions that Whence defines."""


# The operator's files, machine and rights.


class ConfigError(WhenceError):
    """A file of the operator is wrong. `faults`: all its faults, one sentence each."""

    def __init__(self, faults: list[str]) -> None:
        self.faults = [_one_line(fault) for fault in faults]
        super().__init__("\n".join(self.faults))


class OperatorError(WhenceError):
    """A failure that the operator can repair. It ends the program with its sentence."""


class UntrustedError(OperatorError):
    """Another user can change the content of `path`. `why` and `cure` complete the sentence."""

    def __init__(self, path: object, why: str, cure: str) -> None:
        self.path, self.why, self.cure = path, why, cure
        super().__init__(_one_line(f"{path} {why}; {cure}"))  # another user may choose the name


class DecisionSocketError(OperatorError):
    """The agent cannot make the socket on which it receives the edge's reports."""


# Trunks and users.


class UnknownTrunkError(WhenceError):
    """No trunk has the id `trunk_id`."""

    def __init__(self, trunk_id: str) -> None:
        self.trunk_id = trunk_id
        super().__init__(
            f"no trunk {_one_line(trunk_id)} is configured; list the trunks: whence trunks"
        )


class UnknownUserError(WhenceError):
    """No local user has this name."""

    def __init__(self, name: str) -> None:
        super().__init__(f"no user {_one_line(name)} is configured; list the users: whence users")


class DisabledTrunkError(WhenceError):
    """The trunk is disabled, so it takes no calls; the message says how to enable it."""


# The store (the directory), and the location table of Kamailio.


class StoreError(WhenceError):
    """The store cannot be opened, read or written."""


class DiskFullError(StoreError):
    """The store cannot be written, because its disk is full."""


class NotSettledError(StoreError):
    """A change is stored, but Kamailio does not confirm that it decides calls by it."""

    def __init__(self) -> None:
        super().__init__(
            "the change is stored, but Kamailio's look-out process stands still, so that Kamailio "
            "may decide calls by the state before; restart Kamailio"
        )


class StoreUnavailableError(StoreError):
    """A worker cannot read the store now: it does not exist yet, or the disk fails."""


class WriteDeferredError(StoreError):
    """A worker cannot write a change to the store now. It keeps the change and retries later."""


class KamailioTableError(StoreError):
    """A table of Kamailio's own database cannot be read. The message is only the cause."""


class LocationError(WhenceError):
    """The location table cannot be made or read."""


# What others send.


class InvalidReportError(WhenceError, ValueError):
    """A message or a report that no edge of this version has sent.

    It is a ValueError too. So a reader of reports handles its own checks, and the ValueErrors of
    enumerations, `int` and `decode`, in one place.
    """


class InvalidReplyError(WhenceError):
    """Bytes that are no SIP reply."""


class InvalidCertificateError(WhenceError):
    """Text that is no certificate in PEM."""


def _one_line(text: str) -> str:
    """Return the text with control characters, also line ends, as escapes."""
    return "".join(c if c.isprintable() else repr(c)[1:-1] for c in text)
