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
"""Makes the guest's kernel and initrd: Debian's cloud kernel, busybox and the agent.

The result is cached outside of the repository under a hash of all that goes into it.
"""

import gzip
import hashlib
import lzma
import os
import pathlib
import shutil
import tempfile

from tests.lab.layout import LabError, default_base
from tests.lab.process import run

_HERE = pathlib.Path(__file__).resolve().parent
#: Meta package whose dependency names the current kernel.
_META_PACKAGE = 'linux-image-cloud-amd64'
_PARTS = ('linux-binary-', 'linux-modules-')
_BUSYBOX = pathlib.Path('/bin/busybox')
#: In the order of loading.  A module that the kernel has built in is not there, and not missed.
_MODULES = (
    'drivers/virtio/virtio_ring',
    'drivers/virtio/virtio',
    'drivers/virtio/virtio_pci_legacy_dev',
    'drivers/virtio/virtio_pci_modern_dev',
    'drivers/virtio/virtio_pci',
    'drivers/char/virtio_console',
    'drivers/block/virtio_blk',
    'drivers/scsi/scsi_common',
    'drivers/scsi/scsi_mod',
    'drivers/scsi/virtio_scsi',
    'drivers/scsi/sd_mod',
)
KERNEL, INITRD = 'vmlinuz', 'initrd.gz'


def cache_directory() -> pathlib.Path:
    """Where builds are kept; ``BLOCKMIRROR_LAB_CACHE`` overrides it."""
    given = os.environ.get('BLOCKMIRROR_LAB_CACHE')
    return pathlib.Path(given) if given else default_base() / '.cache'


def digest() -> str:
    """Hash of everything that the build is made from, the kernel's version excepted."""
    parts = [(_HERE / name).read_bytes() for name in ('agent.c', 'init', 'build.py')]
    parts.append(_BUSYBOX.read_bytes())
    return hashlib.sha256(b'\0'.join(hashlib.sha256(one).digest() for one in parts)).hexdigest()


def installed(directory: pathlib.Path) -> bool:
    """Whether `directory` holds a guest made from the current sources."""
    stamp = directory / 'digest'
    return stamp.exists() and stamp.read_text() == digest()


def install(directory: pathlib.Path) -> None:
    """Put kernel and initrd into `directory`, building them if no build is cached.

    A lab has copies of its own, since libvirt changes their owner.

    :raise LabError: the compiler or the package manager failed
    """
    if installed(directory):
        return
    cached = cache_directory() / digest()[:16]
    if not (cached / INITRD).exists():
        _build(cached)
    for name in (KERNEL, INITRD):
        fresh = directory / f'{name}.new'
        shutil.copyfile(cached / name, fresh)
        fresh.chmod(0o644)
        fresh.replace(directory / name)
    (directory / 'digest').write_text(digest())


def _build(target: pathlib.Path) -> None:
    """Build into a directory beside `target` and rename it: two builders cannot collide."""
    target.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix='.build-') as name:
        work = pathlib.Path(name)
        unpacked = _kernel(target.parent)
        modules = next(unpacked.glob('**/lib/modules/*')) / 'kernel'
        tree = work / 'tree'
        _populate(tree, modules)
        made = work / 'made'
        made.mkdir(mode=0o711)
        shutil.copyfile(next(unpacked.glob('**/vmlinuz*')), made / KERNEL)
        (made / INITRD).write_bytes(gzip.compress(_archive(tree), 1, mtime=0))
        if not target.exists():
            made.rename(target)


def _populate(tree: pathlib.Path, modules: pathlib.Path) -> None:
    for directory in ('bin', 'dev', 'proc', 'sys', 'modules'):
        (tree / directory).mkdir(parents=True)
    shutil.copy(_BUSYBOX, tree / 'bin/busybox')
    (tree / 'bin/sh').symlink_to('busybox')
    shutil.copy(_HERE / 'init', tree / 'init')
    (tree / 'init').chmod(0o755)
    order = []
    for one in _MODULES:
        plain = modules / f'{one}.ko'
        packed = plain.with_suffix('.ko.xz')  # since Debian 13; busybox wants them unpacked
        if packed.exists():
            (tree / 'modules' / plain.name).write_bytes(lzma.decompress(packed.read_bytes()))
        elif plain.exists():
            shutil.copy(plain, tree / 'modules')
        else:
            continue
        order.append(plain.stem)
    (tree / 'modules/order').write_text('\n'.join(order) + '\n')
    flags = ['-std=c11', '-O2', '-static', '-pthread', '-Wall', '-Wextra', '-Werror']
    run(['gcc', *flags, '-o', str(tree / 'agent'), str(_HERE / 'agent.c')])


def _archive(tree: pathlib.Path) -> bytes:
    """The tree as a cpio archive in the kernel's ``newc`` format."""
    names = '\n'.join(str(one.relative_to(tree)) for one in sorted(tree.rglob('*')))
    out = tree.parent / 'initrd.cpio'
    argv = ['cpio', '--create', '--quiet', '--format=newc', '--owner=0:0']
    run([*argv, '--directory', str(tree), '--file', str(out)], stdin=names + '\n')
    return out.read_bytes()


def _kernel(cache: pathlib.Path) -> pathlib.Path:
    """Directory of the unpacked kernel package, downloaded with apt once."""
    packages = _needed(_META_PACKAGE, 'linux-image-')
    if not packages:
        raise LabError('guest', f'apt knows no {_META_PACKAGE}')
    unpacked = cache / packages[0]
    if not unpacked.exists():
        # After Debian 13 it is an empty package, of which two others have the parts.
        packages += _needed(packages[0], *_PARTS)
        with tempfile.TemporaryDirectory(dir=cache, prefix='.kernel-') as name:
            work = pathlib.Path(name)
            fetch = 'cd "$1" && shift && apt-get -q download "$@"'
            run(['sh', '-c', fetch, 'sh', name, *packages], timeout_s=300)
            for package in work.glob('*.deb'):
                run(['dpkg-deb', '--extract', str(package), str(work / 'tree')])
            if not unpacked.exists():
                (work / 'tree').rename(unpacked)
    return unpacked


def _needed(package: str, *prefixes: str) -> list[str]:
    """Names of the packages that one depends on, of those that begin so."""
    told = run(['apt-cache', 'depends', package])
    names = [line.split()[-1] for line in told.splitlines() if ' Depends: ' in line]
    return [name for name in names if name.startswith(prefixes)]
