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
"""Running QEMU's own tools: with a deadline, cancellable, and with one line on what went wrong.

Nothing here knows of threads or their kind: a tool writes into files without a name, and its
parent looks at them while it waits, so that it works in a process whose standard library was
patched (cinder-volume) as in any other.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import IO

from oslo_log import log

from blockmirror_driver import exception
from blockmirror_driver.model import Seconds, Secret
from blockmirror_driver.qemu import secrets
from blockmirror_driver.qemu.blockdev import Blockdev

LOG = log.getLogger(__name__)

#: Seconds between two looks at a tool that runs.
_LOOK = 0.5
#: Seconds that a killed tool may take to be gone; it waits for no disk of the host.
_REAP = 10.0
#: What the tools print with ``-p``, overwriting it: ``    (12.34/100%)``.
_PERCENT = re.compile(rb'\(\s*(\d+\.\d+)/100%\)')
#: The tool quotes the whole image before it says what is wrong with it.
_QUOTED = re.compile(
    r"^qemu-\w+: (?:Could not open '.*': |can't open device json:\{.*\}: )?", re.DOTALL
)
_TAIL = 4096


def _never() -> bool:
    return False


@dataclass(frozen=True, slots=True)
class Limits:
    """How long a tool may run, and who may end it before.

    :param timeout: seconds
    :param cancelled: asked about twice a second; it must be quick
    """

    timeout: Seconds
    cancelled: Callable[[], bool] = _never


@dataclass(frozen=True, slots=True)
class Ended:
    """How a tool ended."""

    code: int
    output: bytes
    reason: str


def run(
    command: Sequence[str],
    images: Sequence[Blockdev],
    limits: Limits,
    progress: Callable[[float], None] | None = None,
    further: Mapping[str, Secret] | None = None,
) -> Ended:
    """Run a tool on images, which become its last arguments, and wait for it.

    :param progress: gets the per cent that the tool reports, in the caller's thread.
    :param further: secrets that ``command`` itself cites, by their ids.
    :raise TimedOut: it was ended at the deadline.
    :raise Cancelled: it was ended since ``limits`` said so.
    :raise UsageError: there is no such tool on this host.

    When this returns or raises the tool is gone; it ends with this thread, too.
    """
    known = {name: value for image in images for name, value in image.secrets.items()}
    known.update(further or {})
    deadline = time.monotonic() + limits.timeout
    with secrets.handed(known) as handed, _files() as (output, errors):
        arguments = [*command, *handed.arguments, *(image.filename for image in images)]
        process = _start(arguments, handed.descriptors, output, errors)
        try:
            while True:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_LOOK)
                if progress and (seen := _PERCENT.findall(_tail(output))):
                    progress(float(seen[-1]))
                if process.returncode is not None:
                    break
                if limits.cancelled():
                    raise exception.Cancelled(f'{command[0]} {command[1]} was cancelled')
                if time.monotonic() > deadline:
                    raise exception.TimedOut(
                        f'{command[0]} {command[1]} took more than {limits.timeout:.0f} s'
                    )
        finally:
            _end(process)
        return Ended(process.returncode, _all(output), _reason(_tail(errors)))


def _start(
    command: list[str], descriptors: Sequence[int], output: IO[bytes], errors: IO[bytes]
) -> subprocess.Popen[bytes]:
    # A tool that outlives us would write to a volume that Cinder deletes or gives away.
    guard = shutil.which('setpriv')
    leash = [guard, '--pdeathsig', 'KILL', '--'] if guard else []
    try:
        return subprocess.Popen(
            [*leash, *command],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=errors,
            pass_fds=descriptors,
            env={**os.environ, 'LC_ALL': 'C'},
        )
    except OSError as exc:
        raise exception.UsageError(
            f'{command[0]} can not be started: {exc.strerror}',
            hint="install QEMU's tools (qemu-utils, and qemu-block-extra for iscsi, nfs and rbd)",
        ) from exc


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.returncode is not None:
        return
    process.kill()
    try:
        process.wait(_REAP)
    except subprocess.TimeoutExpired:
        LOG.exception('process %d does not end; it may still write', process.pid)


@contextlib.contextmanager
def _files() -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    with tempfile.TemporaryFile() as output, tempfile.TemporaryFile() as errors:
        yield output, errors


def _tail(file: IO[bytes]) -> bytes:
    size = os.fstat(file.fileno()).st_size
    return os.pread(file.fileno(), _TAIL, max(0, size - _TAIL))


def _all(file: IO[bytes]) -> bytes:
    return os.pread(file.fileno(), os.fstat(file.fileno()).st_size, 0)


def _reason(errors: bytes) -> str:
    """Return the first line that says something, without the quoted image."""
    lines = errors.decode(errors='replace').splitlines()
    told = [line for line in lines if line.startswith('qemu-')] or [line for line in lines if line]
    return exception.one_line(_QUOTED.sub('', told[0])) if told else 'without a reason'
