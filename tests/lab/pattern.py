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
"""What the guest's agent writes, known outside of the guest as well (see ``image/agent.c``)."""

import dataclasses
import functools
import struct
import zlib
from collections.abc import Sequence
from typing import Protocol

#: Bytes of a block, the unit of writing, checking and comparing.
BLOCK = 4096
#: Odd, hence a bijection modulo any power of two.
SPREAD = 0x9E3779B1
WRITER_MAGIC, FILL_MAGIC = b'BMLABWR1', b'BMLABFI1'
_MASK = (1 << 64) - 1
_HEADER = struct.Struct('<8sQIIQ')
_FILL_HEADER = struct.Struct('<8sQQ')


@dataclasses.dataclass(frozen=True)
class Run:
    """Writers that were started together on one disk, and where they write.

    :ivar tag: tells this run from every other, on this disk or another
    :ivar blocks: places of each writer, a power of two
    :ivar stride: bytes from one place of a writer to its next in address order
    :ivar base: bytes from the start of the disk to the first place
    """

    device: str
    tag: int
    writers: int
    blocks: int
    stride: int
    base: int = 0

    def __post_init__(self) -> None:
        """Refuse what the agent refuses.

        :raise ValueError: `blocks` is no power of two, places overlap, or are unaligned
        """
        if self.blocks < 1 or self.blocks & (self.blocks - 1):
            raise ValueError(f'{self.blocks} is no power of two')
        if self.stride < self.writers * BLOCK or self.stride % BLOCK or self.base % BLOCK:
            raise ValueError('places must be multiples of 4096 and not overlap')

    @property
    def end(self) -> int:
        """First byte past the last place."""
        return self.base + (self.blocks - 1) * self.stride + self.writers * BLOCK

    def place(self, sequence: int) -> int:
        """Which of a writer's places block number `sequence` goes to."""
        return sequence * SPREAD % self.blocks

    def offset(self, writer: int, place: int) -> int:
        """Offset of a place in bytes."""
        return self.base + place * self.stride + writer * BLOCK

    def latest(self, place: int, sequence: int) -> int:
        """Highest sequence number up to `sequence` that goes to `place`; 0 for none."""
        residue = place * pow(SPREAD, -1, self.blocks) % self.blocks if self.blocks > 1 else 0
        found = sequence - (sequence - residue) % self.blocks
        return max(found, 0)


@dataclasses.dataclass(frozen=True)
class Header:
    """What a block written by a writer says about itself."""

    sequence: int
    writer: int
    tag: int
    time_us: int


def read_header(block: bytes) -> Header | None:
    """The header of a writer's block; None if magic or checksum is wrong."""
    if len(block) != BLOCK or not block.startswith(WRITER_MAGIC):
        return None
    if zlib.crc32(block[:-4]) != int.from_bytes(block[-4:], 'little'):
        return None
    _, sequence, writer, tag, time_us = _HEADER.unpack_from(block)
    return Header(sequence, writer, tag, time_us)


def writer_block(sequence: int, writer: int, tag: int, time_us: int = 0) -> bytes:
    """The block that a writer would write, byte for byte."""
    state = ((sequence << 8 | writer) * 0x9E3779B97F4A7C15 & _MASK) | 1
    body = _noise(state, (BLOCK - _HEADER.size) // 8)
    text = _HEADER.pack(WRITER_MAGIC, sequence, writer, tag, time_us) + body
    return text[:-4] + zlib.crc32(text[:-4]).to_bytes(4, 'little')


class Base(Protocol):
    """What a disk held before the first writer started."""

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, both multiples of 4096."""


@dataclasses.dataclass(frozen=True)
class Fill:
    """Deterministic data over a range of a disk (bytes), and zeros elsewhere.

    The same range may be filled from in the guest or from outside.
    """

    seed: int = 1
    offset: int = 0
    length: int = 0

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, both multiples of 4096."""
        return b''.join(self._block(at) for at in range(offset, offset + length, BLOCK))

    def _block(self, offset: int) -> bytes:
        if not self.offset <= offset < self.offset + self.length:
            return bytes(BLOCK)
        page, turn = fill_page(self.seed), offset // BLOCK % BLOCK
        start = _FILL_HEADER.pack(FILL_MAGIC, self.seed, offset)
        return start + (page[turn:] + page[:turn])[len(start) :]


#: A disk of nothing but zeros.
ZEROS = Fill()


@dataclasses.dataclass(frozen=True)
class Layers:
    """Several fills, a later one over an earlier."""

    fills: Sequence[Fill]

    def read(self, offset: int, length: int) -> bytes:
        """`length` bytes from `offset`, both multiples of 4096."""
        data = bytearray(length)
        for one in self.fills:
            begin, end = max(offset, one.offset), min(offset + length, one.offset + one.length)
            if begin < end:
                data[begin - offset : end - offset] = one.read(begin, end - begin)
        return bytes(data)


@functools.lru_cache(maxsize=64)
def fill_page(seed: int) -> bytes:
    """The page of noise that a fill turns, one 64-bit word after the other."""
    return _noise((seed * SPREAD & _MASK) | 1, BLOCK // 8)


def _noise(state: int, words: int) -> bytes:
    """Marsaglia's xorshift64 from a state that is not 0."""
    out = bytearray()
    for _ in range(words):
        state ^= state << 13 & _MASK
        state ^= state >> 7
        state ^= state << 17 & _MASK
        out += state.to_bytes(8, 'little')
    return bytes(out)
