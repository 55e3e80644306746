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
"""Stand-ins for libvirt's objects, and errors as libvirt makes them."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable
from typing import Any, TypeVar

import libvirt

from blockmirror_driver.model import Seconds
from blockmirror_driver.virt import errors
from blockmirror_driver.virt.connection import Hypervisor

_T = TypeVar('_T')

QEMU = 10
RPC = 7
SECRET_DRIVER = 30


def libvirt_error(code: int, message: str, domain: int = QEMU) -> libvirt.libvirtError:
    """An error as the binding fills it from virError."""
    error = libvirt.libvirtError(message)
    error.err = (code, domain, message, 2, '', '', '', 0, 0)  # type: ignore[attr-defined]
    return error


CLOSED = libvirt_error(1, 'internal error: client socket is closed', RPC)


def setting(event: threading.Event) -> Callable[..., int]:
    """An answer that sets the event, and returns 0 like libvirt."""

    def answer(*_args: Any) -> int:
        event.set()
        return 0

    return answer


class Recorder:
    """Any method answers what ``answers`` says (a value, an error, a function) or 0."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers
        self.calls: list[tuple[Any, ...]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        if name.startswith('__'):
            raise AttributeError(name)

        def method(*args: Any) -> Any:
            self.calls.append((name, *args))
            answer = self.answers.get(name, 0)
            if isinstance(answer, BaseException):
                raise answer
            return answer(*args) if callable(answer) else answer

        return method


class DirectHypervisor(Hypervisor):
    """Runs each call at once on the connection that it was given."""

    def __init__(self, conn: Any) -> None:
        super().__init__('stand-in:///')
        self.conn = conn

    def run(
        self,
        name: str,
        function: Callable[[libvirt.virConnect], _T],
        *,
        key: str | None = None,
        timeout: Seconds | None = None,
        translate: errors.Translation = errors.translate,
    ) -> _T:
        try:
            return function(self.conn)
        except libvirt.libvirtError as error:
            raise translate(error, name) from error


USAGE_KINDS = {'ceph': 2, 'iscsi': 3}


class FakeSecret:
    """A virSecret that lives in a :class:`SecretConnect`."""

    def __init__(self, home: SecretConnect, uuid: str, kind: int, usage: str) -> None:
        self._home, self._uuid, self._kind, self._usage = home, uuid, kind, usage
        self.value: bytes | None = None
        self.xml = ''

    def UUIDString(self) -> str:  # noqa: N802 - libvirt's name
        return self._uuid

    def usageID(self) -> str:  # noqa: N802 - libvirt's name
        return self._usage

    def setValue(self, value: bytes, flags: int = 0) -> int:  # noqa: N802 - libvirt's name
        if self._home.refuse_values:
            raise libvirt_error(1, 'no space left', SECRET_DRIVER)
        self.value = value
        return 0

    def undefine(self) -> int:
        if self._home.secrets.pop(self._uuid, None) is None:
            raise libvirt_error(66, 'Secret not found', SECRET_DRIVER)
        return 0


class SecretConnect:
    """The secrets of a virConnect: uuid and (type, usage) are both unique."""

    def __init__(self) -> None:
        self.secrets: dict[str, FakeSecret] = {}
        self.refuse_values = False

    def add(self, uuid: str, kind: int, usage: str) -> FakeSecret:
        self.secrets[uuid] = FakeSecret(self, uuid, kind, usage)
        return self.secrets[uuid]

    def forget_ephemeral(self) -> None:
        """What a restart of libvirtd does."""
        for uuid, secret in list(self.secrets.items()):
            if re.search(r"ephemeral=['\"]yes", secret.xml):
                del self.secrets[uuid]

    def listAllSecrets(self, flags: int = 0) -> list[FakeSecret]:  # noqa: N802 - libvirt's
        return list(self.secrets.values())

    def secretDefineXML(self, xml: str, flags: int = 0) -> FakeSecret:  # noqa: N802 - libvirt's
        found = re.search(r'<uuid>(.*?)</uuid>', xml), re.search(r"type=['\"](\w+)['\"]", xml)
        usage = re.search(r'<(name|target)>(.*?)</', xml)
        assert found[0] and found[1] and usage
        uuid, kind = found[0][1], USAGE_KINDS[found[1][1]]
        secret = self.secrets.get(uuid) or self.add(uuid, kind, usage[2])
        secret.xml = xml
        return secret

    def secretLookupByUUIDString(self, uuid: str) -> FakeSecret:  # noqa: N802 - libvirt's
        if uuid not in self.secrets:
            raise libvirt_error(66, 'Secret not found', SECRET_DRIVER)
        return self.secrets[uuid]

    def secretLookupByUsage(self, kind: int, usage: str) -> FakeSecret:  # noqa: N802 - libvirt's
        for secret in self.secrets.values():
            if (secret._kind, secret._usage) == (kind, usage):
                return secret
        raise libvirt_error(66, 'Secret not found', SECRET_DRIVER)
