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
"""What a volume driver is: one per ``driver_volume_type``.

A package adds one by an entry point in ``blockmirror.volume_drivers``, whose name is the
driver_volume_type and whose object is a subclass of :class:`VolumeDriver`.
"""

from __future__ import annotations

import abc
from dataclasses import dataclass, field

from oslo_config import cfg

from blockmirror_driver import model
from blockmirror_driver.volume.connection_info import ConnectionInfo

#: The group of :class:`stevedore.ExtensionManager` that drivers register in.
NAMESPACE = 'blockmirror.volume_drivers'


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What a driver can do.

    :param protocol: libvirt's name of the protocol, empty for a local source.
    :param formats: image formats that it builds.
    :param thin: the storage can take discards.
    :param min_libvirt: the oldest libvirt that opens such a source, as a number.
    :param block_module: QEMU's block module, where distributions package it apart.
    """

    protocol: str
    formats: frozenset[str] = field(default=frozenset({'raw'}))
    thin: bool = True
    min_libvirt: int = 8_000_000
    block_module: str = ''


class VolumeDriver(abc.ABC):
    """Turns the connection_info of one kind of volume into a disk.

    An object is made for each call, without arguments. It does no I/O but what its
    documentation says, never changes the host, and never logs what it was given.
    """

    @abc.abstractmethod
    def describe(self) -> Capabilities:
        """Return what the driver can do."""

    @abc.abstractmethod
    def disk(
        self, connection_info: ConnectionInfo, target_dev: str, conf: cfg.ConfigOpts
    ) -> model.Disk:
        """Return the disk, with the secrets that it needs.

        :param target_dev: the guest's name of the disk, already checked.
        :param conf: with the options of :mod:`blockmirror_driver.conf` registered.
        :raise InvalidConnectionInfo: the connection_info can't be understood or trusted.
        :raise UnsupportedVolume: it is understood, and such a volume is not moved.
        :raise SecretUnavailable: a secret is needed that is neither given nor configured.
        """
