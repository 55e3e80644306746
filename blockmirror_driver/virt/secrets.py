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
"""The secrets that we keep in libvirt, for as long as someone needs them.

- A *job* secret serves one probe or copy. It is ephemeral: libvirt keeps it in memory.
- A *disk* secret is cited by a guest's definition. It is stored, since a cold start needs
  it again; libvirt keeps it under ``/etc/libvirt/secrets``, readable by root only.

Both are private: nobody reads the value back, only the hypervisor's driver uses it. Their
usage is ``blockmirror/<job|disk>/<owner>/<n>`` and their uuid is derived from that, so
that defining one again changes nothing, and that only a secret whose uuid and usage fit
together counts as ours. No other is ever touched, replaced or undefined.
"""

from __future__ import annotations

import enum
import re
import uuid as uuids
from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

import libvirt
from oslo_log import log

from blockmirror_driver import exception
from blockmirror_driver.model import Disk, SecretRef, SecretSpec, SecretUsage
from blockmirror_driver.virt import errors
from blockmirror_driver.xml import secret as xml_secret

if TYPE_CHECKING:
    from blockmirror_driver.virt.connection import Hypervisor

_T = TypeVar('_T')

LOG = log.getLogger(__name__)

PREFIX = 'blockmirror/'

#: Never change it: recovery finds what older versions made by the uuids derived from it.
_NAMESPACE = uuids.UUID('8f3a1c52-6a0e-5d0b-9c56-1f4a3b1f7d20')
#: ``virSecretUsageType``.
_USAGE_TYPES = {SecretUsage.VOLUME: 1, SecretUsage.CEPH: 2, SecretUsage.ISCSI: 3}
#: A swap's or attachment's id; a slash would let one owner's prefix match another's.
_OWNER = re.compile(r'[A-Za-z0-9][A-Za-z0-9._-]{0,127}')


class SecretLifetime(enum.Enum):
    """How long a secret lives; see the module's text."""

    JOB = 'job'
    DISK = 'disk'


@dataclass(frozen=True, slots=True)
class _Ours:
    """A secret in libvirt that we made."""

    handle: libvirt.virSecret
    uuid: str
    usage: str
    owner: str


class SecretStore:
    """Our secrets in one hypervisor. Any thread may call.

    Every method raises :class:`~blockmirror_driver.exception.HypervisorUnavailable` when
    libvirt can't be asked; each may then simply be repeated.
    """

    def __init__(self, hypervisor: Hypervisor) -> None:
        self._hypervisor = hypervisor

    def prepare(self, disk: Disk, owner: str, *, lifetime: SecretLifetime) -> Disk:
        """Define what the disk needs, and return the disk citing it by uuid.

        May be called again at any time with the disk that a driver made: after a restart
        of libvirtd it must be, since job secrets are gone then.

        :param owner: the id of the swap or attachment that the secrets belong to.
        :raise SecretUnavailable: one can't be defined, for example since somebody else
            uses our name for it. The ones before it stay until :meth:`discard`.
        """
        _require_owner(owner)
        for number, spec in enumerate(disk.secrets):
            usage = _usage(owner, lifetime, number)
            uuid = derived_uuid(usage)
            text = xml_secret.build(
                spec.type,
                usage,
                uuid=uuid,
                ephemeral=lifetime is SecretLifetime.JOB,
                description=f'blockmirror {lifetime.value} secret',
            )
            self._run('secretDefineXML', _definer(text, spec, usage))
            disk = disk.with_secret(spec, SecretRef(spec.type, uuid=uuid))
        return disk

    def discard(
        self, owner: str, lifetime: SecretLifetime, *, cited: Collection[str] = ()
    ) -> tuple[str, ...]:
        """Undefine what the owner has of one lifetime; return the usages, maybe none.

        A guest that runs keeps its connection; only opening anew needs the secret.

        :param cited: uuids and usages to leave alone.
        """
        _require_owner(owner)
        start = f'{PREFIX}{lifetime.value}/{owner}/'
        return self._undefine_if(
            lambda secret: (
                secret.usage.startswith(start) and not {secret.uuid, secret.usage} & set(cited)
            )
        )

    def sweep(self, is_alive: Callable[[str], bool], cited: Collection[str]) -> tuple[str, ...]:
        """Undefine ours whose owner is not alive and which nothing cites; return usages.

        :param is_alive: tells of an owner whether it may still need its secrets. Asked in
            the caller's thread, after the secrets were listed, of each that nothing cites.
            What it raises ends the sweep before anything was undefined.
        :param cited: uuids and usages in any live or stored definition of a domain.
        """
        condemned = self.leftover(is_alive, cited)
        return self._undefine_if(lambda secret: secret.usage in condemned)

    def leftover(self, is_alive: Callable[[str], bool], cited: Collection[str]) -> tuple[str, ...]:
        """Return the usages of what :meth:`sweep` would undefine; the same parameters."""
        citations = frozenset(cited)
        listed = self._run('listAllSecrets', _ours)
        return tuple(
            sorted(
                secret.usage
                for secret in listed
                if citations.isdisjoint({secret.uuid, secret.usage}) and not is_alive(secret.owner)
            )
        )

    def exists(self, ref: SecretRef) -> bool:
        """Tell whether libvirt has the secret, ours or not, with a value or without."""

        def look_up(conn: libvirt.virConnect) -> bool:
            try:
                if ref.uuid is not None:
                    conn.secretLookupByUUIDString(ref.uuid)
                else:
                    conn.secretLookupByUsage(_USAGE_TYPES[ref.type], ref.usage or '')
            except libvirt.libvirtError as error:
                if errors.is_no_secret(error):
                    return False
                raise
            return True

        return self._run('secretLookup', look_up)

    def _undefine_if(self, condemned: Callable[[_Ours], bool]) -> tuple[str, ...]:
        def undefine(conn: libvirt.virConnect) -> list[str]:
            gone = []
            for secret in _ours(conn):
                if condemned(secret):
                    _undefine(secret.handle)
                    gone.append(secret.usage)
            return gone

        usages = tuple(sorted(self._run('secretUndefine', undefine)))
        for usage in usages:
            LOG.info('undefined the libvirt secret %s', usage)
        return usages

    def _run(self, name: str, function: Callable[[libvirt.virConnect], _T]) -> _T:
        return self._hypervisor.run(name, function, translate=_translate)


def derived_uuid(usage: str) -> str:
    """Return the uuid that a secret of ours with this usage has."""
    return str(uuids.uuid5(_NAMESPACE, usage))


def cite(disk: Disk, owner: str, *, lifetime: SecretLifetime) -> Disk:
    """Return the disk as :meth:`SecretStore.prepare` does, without asking libvirt."""
    _require_owner(owner)
    for number, spec in enumerate(disk.secrets):
        ref = SecretRef(spec.type, uuid=derived_uuid(_usage(owner, lifetime, number)))
        disk = disk.with_secret(spec, ref)
    return disk


def _usage(owner: str, lifetime: SecretLifetime, number: int) -> str:
    return f'{PREFIX}{lifetime.value}/{owner}/{number}'


def _require_owner(owner: str) -> None:
    if not _OWNER.fullmatch(owner):
        raise exception.UsageError(f'not the id of a swap or an attachment: {owner[:60]!r}')


def _definer(text: str, spec: SecretSpec, usage: str) -> Callable[[libvirt.virConnect], None]:
    def define(conn: libvirt.virConnect) -> None:
        existed = _is_defined(conn, spec.type, usage)
        secret = conn.secretDefineXML(text)
        try:
            secret.setValue(spec.value.reveal())
        except BaseException:
            # A new one without a value is worse than none: it looks as if all were there.
            if not existed:
                _undefine(secret)
            raise

    return define


def _is_defined(conn: libvirt.virConnect, kind: SecretUsage, usage: str) -> bool:
    """Tell whether we have defined it already; refuse what somebody else defined so."""
    try:
        taken = conn.secretLookupByUsage(_USAGE_TYPES[kind], usage).UUIDString()
    except libvirt.libvirtError as error:
        if errors.is_no_secret(error):
            return False
        raise
    if taken != derived_uuid(usage):
        raise exception.SecretUnavailable(
            f'the secret {taken} uses our name {usage}',
            hint='find out who made it; virsh secret-undefine removes it',
        )
    return True


def _ours(conn: libvirt.virConnect) -> list[_Ours]:
    found = []
    for handle in conn.listAllSecrets():
        usage, uuid = handle.usageID(), handle.UUIDString()
        parts = usage.split('/')
        if usage.startswith(PREFIX) and len(parts) == 4 and uuid == derived_uuid(usage):
            found.append(_Ours(handle, uuid, usage, owner=parts[2]))
    return found


def _undefine(handle: libvirt.virSecret) -> None:
    try:
        handle.undefine()
    except libvirt.libvirtError as error:
        if not errors.is_no_secret(error):  # somebody was faster
            raise


def _translate(error: libvirt.libvirtError, what: str) -> exception.BlockmirrorError:
    ours = errors.translate(error, what)
    if isinstance(ours, exception.HypervisorUnavailable) and not ours.outcome_unknown:
        return exception.SecretUnavailable(f'{what}: {errors.clean(error)}')
    return ours
