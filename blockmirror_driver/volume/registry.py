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
"""Finding the driver of a volume, and :func:`disk_for`."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from oslo_config import cfg

from blockmirror_driver import conf as configuration
from blockmirror_driver import exception
from blockmirror_driver.model import Disk, Secret
from blockmirror_driver.volume import encryption
from blockmirror_driver.volume.base import NAMESPACE, VolumeDriver
from blockmirror_driver.volume.connection_info import ConnectionInfo
from blockmirror_driver.xml import disk as xml_disk

_CHECK_PACKAGE = 'check the packages that register in blockmirror.volume_drivers'
#: The names that the guest's disks have with libvirt; the bus follows from the prefix.
_TARGET_DEV = re.compile(r'(?:vd|sd|hd|xvd)[a-z]{1,3}', re.ASCII)


def names() -> list[str]:
    """Return each driver_volume_type that a driver is registered for, sorted."""
    # stevedore reads the metadata of all installed packages; only who asks pays for it.
    from stevedore import ExtensionManager

    manager: ExtensionManager[object] = ExtensionManager(
        NAMESPACE, on_load_failure_callback=_ignore
    )
    return sorted(manager.names())


def driver_for(volume_type: str) -> VolumeDriver:
    """Return a driver for the driver_volume_type.

    :raise UnknownVolumeType: none is registered for it, more than one is, or it can't be
        loaded.
    """
    from stevedore import NamedExtensionManager

    shown = repr(volume_type[:40])
    try:
        manager: NamedExtensionManager[object] = NamedExtensionManager(
            NAMESPACE,
            [volume_type],
            invoke_on_load=True,
            on_load_failure_callback=_fail,
            on_missing_entrypoints_callback=_ignore,
        )
    except Exception as exc:
        # What a third party's module raises when it is loaded is anyone's guess.
        raise exception.UnknownVolumeType(
            f'the driver for volumes of type {shown} can not be loaded: {type(exc).__name__}',
            hint=_CHECK_PACKAGE,
        ) from exc
    # A package that is installed twice (editable, say) lists the same class twice.
    found = {e.entry_point.value: e.obj for e in manager.extensions}
    if not found:
        raise exception.UnknownVolumeType(f'no driver for volumes of type {shown}')
    driver = next(iter(found.values()))
    if len(found) > 1 or not isinstance(driver, VolumeDriver):
        what = 'more than one driver' if len(found) > 1 else 'what is no VolumeDriver'
        raise exception.UnknownVolumeType(
            f'{what} is registered for volumes of type {shown}', hint=_CHECK_PACKAGE
        )
    return driver


def disk_for(
    connection_info: Mapping[str, Any],
    target_dev: str = 'vda',
    *,
    conf: cfg.ConfigOpts | None = None,
    key: Secret | None = None,
) -> Disk:
    """Return the disk that a Cinder connection_info describes.

    :param connection_info: nested or flat, see :class:`ConnectionInfo`. Not changed.
    :param target_dev: the guest's name of the disk (``vda``, ``sdb``, ...); its prefix
        gives the bus.
    :param conf: options; the process's own when it is left out.
    :param key: the passphrase of a volume that is encrypted with LUKS.
    :raise UsageError: ``target_dev`` is not the name of a disk.
    :raise InvalidConnectionInfo: it can't be understood, or must not be trusted.
    :raise UnsupportedVolume: it is understood, and such a volume is not moved.
    :raise SecretUnavailable: a secret is needed that is neither given nor configured.

    The disk can be written as XML. Any thread may call. Local files are read at most, and
    nothing is asked of the network: see :func:`blockmirror_driver.volume.portals.choose`.
    """
    if not isinstance(target_dev, str) or not _TARGET_DEV.fullmatch(target_dev):
        raise exception.UsageError(
            'the target is not the name of a guest disk', hint='for example vda or sdb'
        )
    info = ConnectionInfo(connection_info)
    options = configuration.CONF if conf is None else conf
    configuration.register_opts(options)
    driver = driver_for(info.driver_volume_type)
    try:
        disk = driver.disk(info, target_dev, options)
        assert isinstance(disk, Disk)
        disk = encryption.applied(info, disk, key)
        # What comes out of here is known to be writable, whoever wrote the driver.
        xml_disk.build(disk)
    except exception.BlockmirrorError:
        raise
    except Exception as exc:
        raise exception.InvalidConnectionInfo(
            f'the driver for {info.driver_volume_type} stumbled over it: {type(exc).__name__}'
        ) from exc
    return disk


def _ignore(*_: object) -> None:
    """Leave it to who asks for the driver to report that it is missing or broken."""


def _fail(_manager: object, _entry_point: object, error: BaseException) -> None:
    raise error
