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
"""The virtualenvs: one for the services and the project, one for Tempest.

Both are below ``build/cloud`` and made by pip from frozen lists. They are made outside of the
lab, where there is a network.
"""

import dataclasses
import fcntl
import hashlib
import pathlib
import sys
from collections.abc import Sequence

from tests.lab.layout import LabError
from tests.lab.namespace import REPOSITORY
from tests.lab.process import run

_REQUIREMENTS = pathlib.Path(__file__).resolve().parent / 'requirements'
_HOME = REPOSITORY / 'build' / 'cloud'
#: Debian's bindings of librados and librbd are built for its own Python, and found there.
_DEBIAN = pathlib.Path('/usr/lib/python3/dist-packages')
_BINDINGS = ('rados', 'rbd')
_VERSION = (3, 11)
_ASK = 'import sys, venv, ensurepip; print(*sys.version_info[:2])'
_CANDIDATES = (sys.executable, 'python3', '/usr/bin/python3', 'python3.11')
_PIP_S = 1800.0


@dataclasses.dataclass(frozen=True)
class Environment:
    """One virtualenv and the lists that it is made from.

    :ivar ceph: whether Debian's Ceph bindings are linked into it
    """

    name: str
    lists: Sequence[str]
    ceph: bool = False

    @property
    def root(self) -> pathlib.Path:
        """Where it is."""
        return _HOME / self.name

    @property
    def bin(self) -> pathlib.Path:
        """Where its commands are."""
        return self.root / 'bin'

    @property
    def python(self) -> pathlib.Path:
        """Its interpreter."""
        return self.bin / 'python'

    def make(self) -> bool:
        """Make it unless it is up to date; returns whether something was done.

        :raise LabError: there is no Python 3.11, or pip failed
        """
        _HOME.mkdir(parents=True, exist_ok=True)
        with (_HOME / f'.{self.name}.lock').open('w') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            return self._make()

    def _make(self) -> bool:
        stamp, wanted = self.root / '.stamp', self._digest()
        if self.python.exists() and stamp.exists() and stamp.read_text() == wanted:
            return False
        print(f'cloud: making the virtualenv {self.name} from {", ".join(self.lists)}', flush=True)
        run([_interpreter(), '-m', 'venv', '--clear', str(self.root)])
        self.pip('setuptools>=77', 'wheel', 'pbr>=6.1.1')  # for what has no wheel
        for one in self.lists:
            self.pip('--no-deps', '--no-build-isolation', '-r', str(_REQUIREMENTS / one))
        if self.ceph:
            self._link_ceph()
        stamp.write_text(wanted)
        return True

    def pip(self, *words: str) -> None:
        """Run ``pip install WORDS`` with the machine's own settings.

        :raise LabError: it failed
        """
        argv = [str(self.python), '-m', 'pip', 'install', '--quiet', '--retries', '5', *words]
        run([*argv, '--disable-pip-version-check'], timeout_s=_PIP_S)

    def _digest(self) -> str:
        parts = [str(self.root), __file__]
        texts = [pathlib.Path(__file__).read_text(), str(self.root)]
        texts += [(_REQUIREMENTS / one).read_text() for one in self.lists]
        return hashlib.sha256('\0'.join(parts + texts).encode()).hexdigest()

    def _link_ceph(self) -> None:
        packages = next((self.root / 'lib').glob('python3.*')) / 'site-packages'
        for name in _BINDINGS:
            found = list(_DEBIAN.glob(f'{name}.cpython-{_VERSION[0]}{_VERSION[1]}-*.so'))
            if not found:
                raise LabError('cloud', f'no {name} for Python 3.11 in {_DEBIAN}')
            (packages / found[0].name).symlink_to(found[0])
        run([str(self.python), '-c', 'import rados, rbd'])


def _interpreter() -> str:
    """A Python of the version that Debian's Ceph bindings are built for, which has venv."""
    for candidate in _CANDIDATES:
        try:
            told = run([candidate, '-c', _ASK])
        except (LabError, OSError):
            continue
        if tuple(int(word) for word in told.split()) == _VERSION:
            return candidate
    raise LabError('cloud', 'no Python 3.11 with venv; Debian 12 has it as python3')


SERVICES = Environment('venv', ('openstack.txt', 'unit.txt'), ceph=True)
TEMPEST = Environment('tempest', ('tempest.txt',))


def install(environment: Environment, *, force: bool = True) -> bool:
    """Install the project as it is now, as an operator does: not editable.

    An editable install would leave out what goes beside Nova.

    :param force: also when the sources have not changed since; returns whether it was done
    """
    stamp, wanted = environment.root / '.project', _sources()
    if not force and stamp.exists() and stamp.read_text() == wanted:
        return False
    stamp.unlink(missing_ok=True)
    environment.pip('--no-deps', '--no-build-isolation', '--force-reinstall', str(REPOSITORY))
    stamp.write_text(wanted)
    return True


def _sources() -> str:
    """Hash of all that an installed project consists of."""
    found = sorted((REPOSITORY / 'blockmirror_driver').rglob('*'))
    files = [one for one in found if one.suffix in ('.py', '.json')]
    files += [REPOSITORY / name for name in ('pyproject.toml', 'setup.cfg', 'setup.py')]
    content = hashlib.sha256()
    for one in files:
        content.update(f'{one}\0'.encode())
        content.update(hashlib.sha256(one.read_bytes()).digest())
    return content.hexdigest()
