"""Messages between two processes, which get through whatever else is written there."""

from __future__ import annotations

import io
import os
import pickle
import socket
import struct
import time
import zlib
from typing import Any

_HEAD = struct.Struct("<QI")  # the length of a message and its checksum
_TOKEN = 16
_MOST = 1 << 32  # bytes of a message: more is a damaged head

_open: set[Channel] = set()
"""This process' ends, which a process forked from it closes: a candidate has no use for them."""


class Channel:
    """One end of a pair of sockets.

    Each message is preceded by a token that only the two ends know and by a checksum; what does not fit is
    skipped.
    """

    def __init__(self, end: socket.socket, token: bytes) -> None:
        self.socket = end
        self.token = token
        self._read = bytearray()
        _open.add(self)

    @staticmethod
    def pair() -> tuple[Channel, Channel]:
        """Return both ends."""
        token = os.urandom(_TOKEN)
        here, there = socket.socketpair()
        return Channel(here, token), Channel(there, token)

    def send(self, message: bytes) -> None:
        """Send a message.

        Raises:
            OSError: the other end is closed.
        """
        self.socket.settimeout(None)
        self.socket.sendall(self.token + _HEAD.pack(len(message), zlib.crc32(message)) + message)

    def receive(self, seconds: float | None = None) -> bytes | None:
        """Return the next message, None where none has come after some seconds.

        Raises:
            EOFError: the other end is closed.
        """
        end = None if seconds is None else time.monotonic() + seconds
        while (message := self._take()) is None:
            left = None if end is None else end - time.monotonic()
            if left is not None and left <= 0:
                return None
            self.socket.settimeout(left)
            try:
                got = self.socket.recv(1 << 20)
            except TimeoutError:
                return None
            except ConnectionError:
                got = b""
            if not got:
                raise EOFError
            self._read += got
        return message

    def _take(self) -> bytes | None:
        """Return the first whole message of what was read, None where there is none yet."""
        while (at := self._read.find(self.token)) >= 0:
            del self._read[:at]
            start = _TOKEN + _HEAD.size
            if len(self._read) < start:
                return None
            length, checksum = _HEAD.unpack_from(self._read, _TOKEN)
            if length < _MOST and len(self._read) < start + length:
                return None
            message = bytes(self._read[start : start + length]) if length < _MOST else b""
            if length < _MOST and zlib.crc32(message) == checksum:
                del self._read[: start + length]
                return message
            del self._read[:_TOKEN]
        del self._read[: 1 - _TOKEN]
        return None

    def close(self) -> None:
        """Close this end."""
        _open.discard(self)
        self.socket.close()


def close_others(kept: Channel) -> None:
    """Close all ends of this process but one."""
    for each in list(_open):
        if each is not kept:
            each.close()


class _Unpickler(pickle.Unpickler):
    """Makes objects of plain types and of this package only: another one's module would be imported."""

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "scratch_conv" or module in ("builtins", "collections"):
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"an object of {module}.{name}")


def unpickle_plain(data: bytes) -> Any:
    """Return what a candidate's process has sent.

    Raises:
        pickle.UnpicklingError: it is no plain data.
    """
    return _Unpickler(io.BytesIO(data)).load()
