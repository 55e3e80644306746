# Copyright the Blockmirror contributors
#
# Licensed under the Apache License, Version 2.0 (the "License"); you may
# not use this file except in compliance with the License. You may obtain
# a copy of the License at
#
#     http://www.apache.org/licenses/LICENSE-2.0
#
# Unless required by applicable law or agreed to in writing, software
# distributed under the License is distributed on an "AS IS" BASIS, WITHOUT
# WARRANTIES OR CONDITIONS OF ANY KIND, either express or implied. See the
# License for the specific language governing permissions and limitations
# under the License.
"""Reading an export of an NBD server, as much of the protocol as that takes.

Fixed newstyle negotiation, ``NBD_OPT_GO``, simple replies; names and numbers are those of
https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md.
"""

from __future__ import annotations

import contextlib
import socket
import struct

from blockmirror_driver import exception
from blockmirror_driver.model import Bytes, Seconds

LARGEST_READ = 32 << 20

_NBDMAGIC, _IHAVEOPT = b'NBDMAGIC', b'IHAVEOPT'
_FLAG_FIXED_NEWSTYLE, _FLAG_NO_ZEROES = 1, 2
_OPT_GO, _OPT_REPLY = 7, 0x3E889045565A9
_REP_ACK, _REP_INFO, _REP_ERROR = 1, 3, 1 << 31
_INFO_EXPORT = 0
_REQUEST, _SIMPLE_REPLY = 0x25609513, 0x67446698
_CMD_READ, _CMD_DISC = 0, 2
_LARGEST_OPTION = 65536


class Export:
    """One connection to one export. One thread uses it, but for :meth:`hang_up`.

    :param path: of the server's socket.
    :param timeout: seconds that the server may be silent.
    :raise CopyFailed: it can't be reached, or there is no such export.
    """

    def __init__(self, path: str, name: str, timeout: Seconds) -> None:
        self._name = name
        self._handle = 0
        self._length = 0
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._socket.settimeout(timeout)
        try:
            self._socket.connect(path)
            self.size = self._negotiate(name.encode())
        except (OSError, struct.error) as error:
            self._socket.close()
            raise self._failed(error) from error
        except exception.BlockmirrorError:
            self._socket.close()
            raise

    def within(self, timeout: Seconds) -> None:
        """Let the server be silent for so long from now on."""
        self._socket.settimeout(timeout)

    def ask(self, offset: int, length: int) -> None:
        """Ask for bytes, without waiting for them.

        :raise CopyFailed: the server is gone.
        """
        assert 0 < length <= LARGEST_READ, length
        self._handle += 1
        self._length = length
        request = struct.pack('>IHHQQI', _REQUEST, 0, _CMD_READ, self._handle, offset, length)
        try:
            self._socket.sendall(request)
        except OSError as error:
            raise self._failed(error) from error

    def answer(self) -> bytearray:
        """Return what the last :meth:`ask` asked for; there is one at a time.

        :raise CopyFailed: it could not be read, or the server is silent.
        """
        try:
            magic, error, handle = struct.unpack('>IIQ', self._receive(16))
            if magic != _SIMPLE_REPLY or handle != self._handle:
                raise self._failed('an answer that nobody asked for')
            if error:
                raise self._failed(f'it can not be read: error {error}')
            return self._receive(self._length)
        except OSError as error:
            raise self._failed(error) from error

    def hang_up(self) -> None:
        """Have whoever waits for an answer get an error. Any thread may call."""
        with contextlib.suppress(OSError):  # it is gone already
            self._socket.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Say good-bye; a second call does nothing."""
        with contextlib.suppress(OSError):
            self._socket.sendall(struct.pack('>IHHQQI', _REQUEST, 0, _CMD_DISC, 0, 0, 0))
        self._socket.close()

    def _negotiate(self, name: bytes) -> Bytes:
        magic, option_magic, flags = struct.unpack('>8s8sH', self._receive(18))
        if (magic, option_magic) != (_NBDMAGIC, _IHAVEOPT) or not flags & _FLAG_FIXED_NEWSTYLE:
            raise self._failed('it is no NBD server')
        no_zeroes = flags & _FLAG_NO_ZEROES
        wanted = struct.pack('>I', len(name)) + name + struct.pack('>H', 0)
        self._socket.sendall(
            struct.pack('>I', _FLAG_FIXED_NEWSTYLE | no_zeroes)
            + _IHAVEOPT
            + struct.pack('>II', _OPT_GO, len(wanted))
            + wanted
        )
        size = None
        while True:
            reply, _option, kind, length = struct.unpack('>QIII', self._receive(20))
            if reply != _OPT_REPLY or length > _LARGEST_OPTION:
                raise self._failed('it is no NBD server')
            data = self._receive(length)
            if kind & _REP_ERROR:
                raise self._failed(f'there is no such export: error {kind & ~_REP_ERROR}')
            if kind == _REP_INFO and struct.unpack('>H', data[:2])[0] == _INFO_EXPORT:
                size = struct.unpack('>Q', data[2:10])[0]
            elif kind == _REP_ACK:
                if size is None:
                    raise self._failed('it tells no size')
                return Bytes(size)

    def _receive(self, length: int) -> bytearray:
        buffer, filled = bytearray(length), 0
        view = memoryview(buffer)
        while filled < length:
            count = self._socket.recv_into(view[filled:])
            if not count:
                raise self._failed('it hung up')
            filled += count
        return buffer

    def _failed(self, reason: object) -> exception.CopyFailed:
        text = 'no answer in time' if isinstance(reason, TimeoutError) else str(reason)
        return exception.CopyFailed(f'NBD export {self._name}: {exception.one_line(text)}')
