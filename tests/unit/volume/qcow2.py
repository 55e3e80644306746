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
"""Headers of qcow2 images (docs/interop/qcow2.txt of QEMU)."""

from __future__ import annotations

import struct

EXTERNAL_DATA_FILE = 1 << 2
EXTENDED_L2 = 1 << 4


def header(*, backing: bool = False, features: int = 0, version: int = 3) -> bytes:
    """Return the first 64 KiB of an image of 1 MiB."""
    start = struct.pack(
        '>4sIQIIQIIQQIIQ',
        b'QFI\xfb',
        version,
        512 if backing else 0,
        9 if backing else 0,
        16,
        1 << 20,
        0,
        1,
        3 << 16,
        1 << 16,
        1,
        0,
        0,
    )
    rest = struct.pack('>QQQII', features, 0, 0, 4, 104)
    return (start + rest).ljust(512, b'\0') + b'/etc/hosts'.ljust(65536 - 512, b'\0')
