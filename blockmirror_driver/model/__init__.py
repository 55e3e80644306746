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
"""Frozen values that the rooms hand to each other; no I/O, no XML, no libvirt."""

from blockmirror_driver.model.disk import (
    Auth,
    Backing,
    BlockSource,
    Disk,
    Driver,
    Encryption,
    FileSource,
    Host,
    Identity,
    IoTune,
    IscsiSource,
    NbdSource,
    NetworkSource,
    NfsSource,
    OtherSource,
    QemuSource,
    RbdSource,
    SecretRef,
    SecretSpec,
    SecretUsage,
    Source,
)
from blockmirror_driver.model.quantity import (
    Bytes,
    BytesPerSecond,
    Seconds,
    format_bytes,
    parse_bytes,
)
from blockmirror_driver.model.secret import Secret

__all__ = (
    'Auth',
    'Backing',
    'BlockSource',
    'Bytes',
    'BytesPerSecond',
    'Disk',
    'Driver',
    'Encryption',
    'FileSource',
    'Host',
    'Identity',
    'IoTune',
    'IscsiSource',
    'NbdSource',
    'NetworkSource',
    'NfsSource',
    'OtherSource',
    'QemuSource',
    'RbdSource',
    'Seconds',
    'Secret',
    'SecretRef',
    'SecretSpec',
    'SecretUsage',
    'Source',
    'format_bytes',
    'parse_bytes',
)
