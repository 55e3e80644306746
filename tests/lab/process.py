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
"""Processes that the lab starts: told apart from others that got the same number later.

A pid alone says nothing once its process has ended.  So the start time from ``/proc`` and the
boot id are recorded with it, and a signal goes through a pidfd that was opened *before* the
identity was compared: what is killed is what was started, or nothing is.
"""

import contextlib
import dataclasses
import json
import os
import pathlib
import select
import signal
import subprocess
import sys
from collections.abc import Callable, Sequence
from typing import Self

from tests.lab.deadline import wait_until
from tests.lab.layout import LabError, Layout, write_private

_PROC = pathlib.Path('/proc')
#: States of ``/proc/PID/stat`` in which nothing runs any more (proc(5)).
_DEAD_STATES = frozenset('ZXx')
_REAPER = pathlib.Path(__file__).resolve().with_name('reaper.py')
#: Descriptor by which the reaper tells the daemon's pid.
_TOLD = 3


def parse_stat(text: str) -> tuple[str, int]:
    """State letter and start time (clock ticks since boot) from ``/proc/PID/stat``.

    The second field, the command in parentheses, may itself hold spaces and parentheses.

    :raise ValueError: this is no line of that file
    """
    _, found, rest = text.rpartition(') ')
    fields = rest.split()
    if not found or len(fields) < 20:
        raise ValueError(f'not a line of /proc/PID/stat: {text!r}')
    return fields[0], int(fields[19])


def boot_id() -> str:
    """Random id of the running kernel: pids and start times of another boot mean nothing."""
    return (_PROC / 'sys/kernel/random/boot_id').read_text().strip()


@dataclasses.dataclass(frozen=True)
class Identity:
    """One process for all time."""

    pid: int
    start_ticks: int
    boot: str

    @classmethod
    def of(cls, pid: int) -> Self | None:
        """Identity of the process that has this pid now; None without one, or for a zombie."""
        try:
            state, start = parse_stat((_PROC / str(pid) / 'stat').read_text())
        except (OSError, ValueError):
            return None
        return None if state in _DEAD_STATES else cls(pid, start, boot_id())

    @classmethod
    def load(cls, path: pathlib.Path) -> Self | None:
        """Identity that :meth:`store` wrote; None if there is none or it is not readable."""
        try:
            return cls(**json.loads(path.read_text()))
        except (OSError, ValueError, TypeError):
            return None

    def store(self, path: pathlib.Path) -> None:
        """Write the identity to `path`."""
        write_private(path, json.dumps(dataclasses.asdict(self)))

    def alive(self) -> bool:
        """Whether exactly this process still runs; a stopped one does, a zombie does not."""
        return Identity.of(self.pid) == self

    def signal(self, number: signal.Signals) -> bool:
        """Send a signal; False, and nothing sent, if the process has ended."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:
            return False
        try:
            if not self.alive():
                return False
            signal.pidfd_send_signal(pidfd, number)
        except ProcessLookupError:
            return False
        else:
            return True
        finally:
            os.close(pidfd)

    def wait_dead(self, seconds: float) -> bool:
        """Wait for the end of the process; False if it still runs after `seconds`."""
        try:
            pidfd = os.pidfd_open(self.pid)
        except OSError:
            return True
        try:
            if not self.alive():
                return True
            poll = select.poll()
            poll.register(pidfd, select.POLLIN)
            return bool(poll.poll(seconds * 1000))
        finally:
            os.close(pidfd)


def end(identity: Identity, grace_s: float = 10.0) -> None:
    """SIGTERM, and SIGKILL after `grace_s` seconds (at once if that is 0).

    :raise LabError: it survives SIGKILL for 10 s, as a process in a hung system call does
    """
    if grace_s > 0:
        identity.signal(signal.SIGTERM)
        identity.signal(signal.SIGCONT)
        if identity.wait_dead(grace_s):
            return
    identity.signal(signal.SIGKILL)
    if not identity.wait_dead(10):
        raise LabError('process', f'pid {identity.pid} survives SIGKILL')


def run(argv: Sequence[str], *, timeout_s: float = 120, stdin: str | None = None) -> str:
    """Run a command to its end and return what it printed.

    :raise LabError: it failed or took longer than `timeout_s`; the text has its stderr
    """
    try:
        done = subprocess.run(
            argv, input=stdin, capture_output=True, text=True, timeout=timeout_s, check=False
        )
    except subprocess.TimeoutExpired as exc:
        raise LabError(argv[0], f'no end within {timeout_s:g} s') from exc
    except FileNotFoundError as exc:
        raise LabError(argv[0], 'is not installed') from exc
    if done.returncode:
        raise LabError(argv[0], f'exit code {done.returncode}: {done.stderr.strip()[-2000:]}')
    return done.stdout


class Daemon:
    """One daemon of the lab, run in the foreground in a session of its own.

    All methods may be called from any process inside the lab, not only from the one that
    started it: the identity is kept in a file.
    """

    def __init__(
        self,
        layout: Layout,
        name: str,
        argv: Sequence[str],
        ready: Callable[[], bool],
        *,
        timeout_s: float = 60.0,
        reaped: bool = False,
    ) -> None:
        self.name = name
        #: Whether what its children leave behind has to be reaped at once.
        self._reaped = reaped
        self._argv = list(argv)
        self._ready = ready
        self._timeout_s = timeout_s
        self._record = layout.pids / f'{name}.json'
        self.log = layout.logs / f'{name}.log'

    @property
    def identity(self) -> Identity | None:
        """Identity of the running process, or None."""
        known = Identity.load(self._record)
        if known and known.alive():
            return known
        self._reap(known)
        return None

    @property
    def pid(self) -> int:
        """Process id.

        :raise LabError: it does not run
        """
        return self._running().pid

    def alive(self) -> bool:
        """Whether it runs, be it stopped by SIGSTOP."""
        return self.identity is not None

    def healthy(self) -> bool:
        """Whether it runs and answers."""
        return self.alive() and self._ready()

    def start(self) -> None:
        """Start it unless it runs, and wait until it answers.

        :raise LabError: it ended, or did not answer in time; the end of its log is in the text
        """
        if not self.alive():
            self.launch()
        self.wait_ready()

    def launch(self) -> None:
        """Start it, and do not wait for an answer."""
        log = (1, str(self.log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        told, tell = os.pipe()
        by = [sys.executable, '-I', str(_REAPER), str(_TOLD)] if self._reaped else []
        # Not subprocess: its objects complain about a child that outlives them, as this one shall.
        pid = os.posix_spawnp(
            'env',
            ['env', '--chdir=/', '--', *by, *self._argv],
            os.environ,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0),
                (os.POSIX_SPAWN_OPEN, *log),
                (os.POSIX_SPAWN_DUP2, 1, 2),
                *([(os.POSIX_SPAWN_DUP2, tell, _TOLD)] if self._reaped else []),
            ],
            setsid=True,
        )
        os.close(tell)
        with os.fdopen(told) as answer:
            if self._reaped:
                pid = int(answer.read() or pid)
        identity = Identity.of(pid)
        if identity is None:
            raise LabError(self.name, f'ended at once: {self._log_tail()}')
        identity.store(self._record)

    def wait_ready(self) -> None:
        """Wait until it answers.

        :raise LabError: it ended, or did not answer in time
        """

        def answers() -> bool:
            if not self.alive():
                raise LabError(self.name, f'ended while starting: {self._log_tail()}')
            return self._ready()

        try:
            wait_until(answers, self._timeout_s, f'{self.name} answers')
        except LabError as exc:
            raise LabError(self.name, f'{exc}; log: {self._log_tail()}') from exc

    def stop(self) -> None:
        """Stop it with SIGSTOP: it keeps its connections, and answers none of them."""
        identity = self._running()
        identity.signal(signal.SIGSTOP)
        stat = _PROC / str(identity.pid) / 'stat'
        wait_until(lambda: parse_stat(stat.read_text())[0] in 'Tt', 5, f'{self.name} stops')

    def cont(self) -> None:
        """Let a stopped daemon go on."""
        self._running().signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it with SIGKILL and wait for that; nothing happens if it does not run."""
        self._end(0)

    def terminate(self, grace_s: float = 10.0) -> None:
        """End it in order, with SIGKILL after `grace_s` seconds."""
        self._end(grace_s)

    def _end(self, grace_s: float) -> None:
        identity = self.identity
        if identity:
            end(identity, grace_s)
            self._reap(identity)

    @staticmethod
    def _reap(identity: Identity | None) -> None:
        """Leave no zombie if the process that has ended is a child of ours."""
        if identity:
            with contextlib.suppress(ChildProcessError):
                os.waitpid(identity.pid, os.WNOHANG)

    def _running(self) -> Identity:
        identity = self.identity
        if identity is None:
            raise LabError(self.name, 'does not run')
        return identity

    def _log_tail(self) -> str:
        try:
            return self.log.read_text(errors='replace')[-1500:].strip()
        except OSError:
            return '(no log)'


def members(mount_namespace: int) -> list[Identity]:
    """All processes that live in a mount namespace, this one excepted.

    :param mount_namespace: inode of its ``/proc/PID/ns/mnt``
    """
    found = []
    for entry in _PROC.iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        identity = Identity.of(int(entry.name))
        try:
            inside = (entry / 'ns/mnt').stat().st_ino == mount_namespace
        except OSError:
            continue
        if identity and inside and identity.alive():
            found.append(identity)
    return found
