"""Sound over plain RTP: sends a tone as PCMU, and measures what arrives."""

from __future__ import annotations

import math
import socket
import struct
import threading
from types import TracebackType
from typing import Self

PACKET = 160
"""Samples of a packet: 20 ms."""

_BIAS, _CLIP = 0x84, 32635


def to_pcmu(sample: int) -> int:
    """Encode a sample of 16 bits (ITU-T G.711)."""
    sign = 0x80 if sample < 0 else 0
    magnitude = min(abs(sample), _CLIP) + _BIAS
    exponent = magnitude.bit_length() - 8
    return ~(sign | exponent << 4 | (magnitude >> exponent + 3) & 0x0F) & 0xFF


def from_pcmu(code: int) -> int:
    """Decode it."""
    code = ~code & 0xFF
    magnitude = (((code & 0x0F) << 3) + _BIAS << (code >> 4 & 7)) - _BIAS
    return -magnitude if code & 0x80 else magnitude


class Sound:
    """A party that sends a tone of 440 Hz, and counts the loud packets that it gets."""

    def __init__(self, ip: str) -> None:
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind((ip, 0))
        self.port = int(self._socket.getsockname()[1])
        self.to: tuple[str, int] | None = None
        """Where it sends; None: it is silent."""
        self.loud = 0
        """Packets whose loudest sample is above a tenth of the range."""
        self._ends = threading.Event()
        self._threads = [threading.Thread(target=own) for own in (self._send, self._hear)]
        for thread in self._threads:
            thread.start()

    def _send(self) -> None:
        tone = bytes(
            to_pcmu(int(12_000 * math.sin(2 * math.pi * 440 * n / 8000))) for n in range(8000)
        )
        number = 0
        while not self._ends.wait(0.02):
            if self.to is not None:
                at = number * PACKET % len(tone)
                head = struct.pack("!BBHII", 0x80, 0, number & 0xFFFF, number * PACKET, 7)
                self._socket.sendto(head + tone[at : at + PACKET], self.to)
                number += 1

    def _hear(self) -> None:
        self._socket.settimeout(0.1)
        while not self._ends.is_set():
            try:
                data = self._socket.recv(2048)
            except TimeoutError:
                continue
            if len(data) > 12 and data[1] & 0x7F == 0:
                self.loud += max(abs(from_pcmu(code)) for code in data[12:]) > 3200

    def close(self) -> None:
        """Stop it."""
        self._ends.set()
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
