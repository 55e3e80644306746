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
"""The guest of the Tempest tests: the lab's kernel and drivers, with a program that reports.

The kernel unpacks archives that follow each other into one tree, where what is later wins. So
the guest is the lab's own and a small archive with another first process.
"""

import gzip
import hashlib
import pathlib
import tempfile

from tests.lab.image.build import INITRD
from tests.lab.layout import Layout
from tests.lab.process import run

_HERE = pathlib.Path(__file__).resolve().parent / 'guest'
_FLAGS = ('-std=c11', '-O2', '-static', '-pthread', '-Wall', '-Wextra', '-Werror')


def digest(layout: Layout) -> str:
    """Hash of what the guest is made from; two builds of the same differ in dates."""
    parts = [(_HERE / name).read_bytes() for name in ('init', 'heartbeat.c')]
    parts.append((layout.guests / INITRD).read_bytes())
    return hashlib.sha256(b''.join(hashlib.sha256(one).digest() for one in parts)).hexdigest()


def build(layout: Layout, out: pathlib.Path) -> None:
    """Write the initrd to `out`.

    :raise LabError: the compiler failed
    """
    with tempfile.TemporaryDirectory(dir=layout.scratch) as name:
        tree = pathlib.Path(name) / 'tree'
        tree.mkdir()
        (tree / 'init').write_bytes((_HERE / 'init').read_bytes())
        (tree / 'init').chmod(0o755)
        run(['gcc', *_FLAGS, '-o', str(tree / 'heartbeat'), str(_HERE / 'heartbeat.c')])
        archive = pathlib.Path(name) / 'archive'
        argv = ['cpio', '--create', '--quiet', '--format=newc', '--owner=0:0']
        run(
            [*argv, '--directory', str(tree), '--file', str(archive)],
            stdin='init\nheartbeat\n',
        )
        ours = gzip.compress(archive.read_bytes(), 1, mtime=0)
    out.write_bytes((layout.guests / INITRD).read_bytes() + ours)
