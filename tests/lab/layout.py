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
"""Where a lab keeps its things, and what it remembers between two commands.

Everything that a lab writes is below one private root directory.  Host directories that daemons
insist upon (``/etc/libvirt``, ``/run`` ...) are bind-mounted from there inside the lab's mount
namespace; the host's own are never touched.
"""

import dataclasses
import json
import os
import pathlib
import re
import secrets
import subprocess
import uuid
from typing import Self

#: Name of the lab, when neither an option nor the environment says otherwise.
DEFAULT_NAME = 'default'
#: ``sun_path`` holds 108 bytes; the longest socket below a root is a guest's agent socket.
_ROOT_MAX_BYTES = 60
_NAME = re.compile(r'[a-z0-9][a-z0-9-]{0,15}')


class LabError(Exception):
    """A part of the lab could not do what it was asked; the text is for the developer.

    :ivar part: name of the part, such as ``ceph``
    """

    def __init__(self, part: str, message: str) -> None:
        super().__init__(f'{part}: {message}')
        self.part = part


def default_base() -> pathlib.Path:
    """Directory that holds all labs of this user (``BLOCKMIRROR_LAB_ROOT`` overrides it)."""
    given = os.environ.get('BLOCKMIRROR_LAB_ROOT')
    return pathlib.Path(given or f'/var/tmp/blockmirror-lab-{os.geteuid()}')


def write_private(path: pathlib.Path, text: str) -> None:
    """Replace `path` in one step by a file that only its owner may read."""
    fresh = path.with_name(f'.{path.name}.{os.getpid()}')
    fresh.unlink(missing_ok=True)
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), 'w') as out:
        out.write(text)
    fresh.rename(path)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Paths of one lab."""

    name: str
    root: pathlib.Path

    @classmethod
    def of(cls, name: str, base: pathlib.Path | None = None) -> Self:
        """Layout of the lab `name`; creates nothing.

        :raise LabError: the name is unfit for paths and domain names, or the root is too long
        """
        if not _NAME.fullmatch(name):
            raise LabError('layout', f'{name!r} is no lab name: at most 16 of a-z, 0-9 and -')
        root = (base or default_base()).absolute() / name
        if len(os.fsencode(root)) > _ROOT_MAX_BYTES:
            raise LabError('layout', f'{root} is too long for unix sockets below it')
        return cls(name, root)

    @classmethod
    def at(cls, root: pathlib.Path) -> Self:
        """Layout of the lab whose root directory is `root`."""
        return cls(root.name, root)

    @property
    def hostdirs(self) -> pathlib.Path:
        """What is mounted over the host's directories, each at its own absolute path."""
        return self.root / 'host'

    @property
    def pids(self) -> pathlib.Path:
        """Identities of the processes that were started, a file each."""
        return self.root / 'pids'

    @property
    def logs(self) -> pathlib.Path:
        """Logs of the daemons and of the guests' consoles."""
        return self.root / 'log'

    @property
    def volumes(self) -> pathlib.Path:
        """Backing files of the volumes, a directory for each kind."""
        return self.root / 'volumes'

    @property
    def guests(self) -> pathlib.Path:
        """Kernel, initrd and agent sockets."""
        return self.root / 'guest'

    @property
    def artefacts(self) -> pathlib.Path:
        """What a test leaves behind for its reader."""
        return self.root / 'artefacts'

    @property
    def scratch(self) -> pathlib.Path:
        """Short-lived files: images read back, secrets on their way into libvirt."""
        return self.root / 'scratch'

    def make(self) -> None:
        """Create the directories.  Safe to call again.

        :raise LabError: somebody else owns the base directory
        """
        base = self.root.parent
        base.mkdir(mode=0o711, parents=True, exist_ok=True)
        if base.stat().st_uid != os.geteuid() or base.is_symlink():
            raise LabError('layout', f'{base} does not belong to uid {os.geteuid()}')
        for path in (self.root, self.hostdirs, self.volumes, self.guests):
            path.mkdir(mode=0o711, exist_ok=True)
        for path in (self.pids, self.logs, self.artefacts, self.scratch):
            path.mkdir(mode=0o700, exist_ok=True)


@dataclasses.dataclass(frozen=True)
class Credentials:
    """Random names and passwords of one lab, drawn once when it is first brought up."""

    fsid: str
    cinder_key: str
    chap_username: str
    chap_password: str
    ceph_secret_uuid: str
    iscsi_secret_uuid: str
    luks_passphrase: str

    @classmethod
    def draw(cls) -> Self:
        """New random credentials.

        The cephx key is of the kind that the installed Ceph makes: since 20.2 a monitor refuses
        those of 16 bytes.  CHAP secrets are 16 characters, since Microsoft's and several arrays'
        initiators accept 12 to 16 only.
        """
        argv = ['ceph-authtool', '--gen-print-key']
        key = subprocess.run(argv, check=True, capture_output=True, text=True).stdout.strip()
        return cls(
            fsid=str(uuid.uuid4()),
            cinder_key=key,
            chap_username=f'chap{secrets.token_hex(4)}',
            chap_password=secrets.token_hex(8),
            ceph_secret_uuid=str(uuid.uuid4()),
            iscsi_secret_uuid=str(uuid.uuid4()),
            luks_passphrase=secrets.token_hex(16),
        )

    @classmethod
    def of(cls, layout: Layout) -> Self:
        """The credentials of a lab, drawn and stored if it has none yet."""
        path = layout.root / 'credentials.json'
        try:
            return cls(**json.loads(path.read_text()))
        except FileNotFoundError:
            drawn = cls.draw()
            write_private(path, json.dumps(dataclasses.asdict(drawn), indent=1))
            return drawn
