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
"""One Debian suite as a root file system: made once, entered in a mount namespace."""

import os
import pathlib
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tests.lab.layout import LabError
from tests.lab.namespace import REPOSITORY
from tests.lab.process import run

HOME = REPOSITORY / 'build' / 'versions'
#: Where the tree is put, in the root file system.
TREE = pathlib.PurePosixPath('/root/blockmirror-driver')
#: What is there before the tree's own ``make`` can install the rest.
_INCLUDED = ('ca-certificates', 'git', 'make')
_MAKE_S = 1800.0
#: Debian's package scripts would start daemons; the lab starts its own.
_POLICY = '#!/bin/sh\nexit 101\n'
#: With its argument as the root: mounts that daemons and package scripts need, then the command.
#: A plain chroot would not do: a lab makes its mounts private, and for that / must be a mount.
_ENTER = """\
set -e
mount --rbind "$1" "$1"
mount -t proc proc "$1/proc"
mount --rbind /sys "$1/sys"
mount --rbind /dev "$1/dev"
mount -t tmpfs -o mode=0755 run "$1/run"
mkdir -p "$1/run/lock" "$1/.outside"
cd "$1"
pivot_root . .outside
umount -l /.outside
shift
exec "$@"
"""
#: Certificates of the machine, under a name that no package of the suite owns.
_CERTIFICATES = '/etc/ssl/certs/outside.crt'
_MACHINES_CERTIFICATES = pathlib.Path('/etc/ssl/certs/ca-certificates.crt')


@dataclass(frozen=True)
class Root:
    """The root file system of one suite.

    :ivar suite: Debian's name of it, such as ``trixie``
    """

    suite: str

    @property
    def path(self) -> pathlib.Path:
        """Where it is on this machine."""
        return HOME / self.suite

    def make(self) -> None:
        """Make it, unless it is there.

        :raise LabError: debootstrap failed; what it left is removed
        """
        stamp = self.path / '.made'
        if not stamp.exists():
            shutil.rmtree(self.path, ignore_errors=True)
            HOME.mkdir(parents=True, exist_ok=True)
            print(f'versions: making {self.suite}', flush=True)
            options = ['--variant=minbase', f'--include={",".join(_INCLUDED)}']
            try:
                run(['debootstrap', *options, self.suite, str(self.path)], timeout_s=_MAKE_S)
            except LabError:
                shutil.rmtree(self.path, ignore_errors=True)
                raise
            stamp.touch()
        policy = self.path / 'usr/sbin/policy-rc.d'
        policy.write_text(_POLICY)
        policy.chmod(0o755)
        # A mirror may lag behind the date until which its suite counts as valid.
        settings = self.path / 'etc/apt/apt.conf.d/90versions'
        settings.write_text('Acquire::Check-Valid-Until "false";\n')
        shutil.copyfile('/etc/resolv.conf', self.path / 'etc/resolv.conf')
        if _MACHINES_CERTIFICATES.exists():
            shutil.copyfile(_MACHINES_CERTIFICATES, self.path / _CERTIFICATES[1:])

    def put(self) -> None:
        """Put the tree's tracked and new files there as they are now; built things stay.

        :raise LabError: git failed
        """
        target = self.path / TREE.relative_to('/')
        names = ['ls-files', '--cached', '--others', '--exclude-standard', '-z']
        wanted = [name for name in run(['git', '-C', str(REPOSITORY), *names]).split('\0') if name]
        if not target.exists():
            run(['git', 'clone', '--quiet', '--no-hardlinks', str(REPOSITORY), str(target)])
        have = run(['git', '-C', str(target), *names]).split('\0')
        for name in set(have) - {'', *wanted}:
            (target / name).unlink(missing_ok=True)
        for name in wanted:
            if (REPOSITORY / name).is_file():
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, target / name)

    def call(self, argv: Sequence[str]) -> int:
        """Run a command there, as root and in the tree; returns its exit status."""
        inside = ['env', f'--chdir={TREE}', *argv]
        command = ['unshare', '--mount', '--propagation', 'private', 'sh', '-c', _ENTER, 'enter']
        return subprocess.run(
            [*command, str(self.path), *inside],
            env=_environment(os.environ),
            stdin=subprocess.DEVNULL,
            check=False,
        ).returncode


def _environment(outer: Mapping[str, str]) -> dict[str, str]:
    """What the machine says of its package registries counts there too; no path of its does."""
    passed = {
        name: value
        for name, value in outer.items()
        if name.lower().endswith('_proxy') or name in ('TERM', 'PIP_INDEX_URL')
    }
    return {
        **passed,
        'HOME': '/root',
        'PATH': '/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin',
        'PIP_CERT': _CERTIFICATES,
        'SSL_CERT_FILE': _CERTIFICATES,
    }
