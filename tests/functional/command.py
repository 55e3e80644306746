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
"""The ``blockmirror`` command as an operator runs it: a process, its exit code, its lines."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.lab.lab import Lab

#: Seconds that any command of a test may take; a hang must still end in a failure.
DEADLINE = 180.0

_CONF = """\
[blockmirror]
connection_uri = qemu:///system
journal_path = {journal}
iscsi_initiator_name = iqn.2026-11.org.blockmirror:host
nfs_uid = 0
nfs_gid = 0
probe_timeout = 20
poll_interval = 1
"""


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    argv: Sequence[str]
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output as JSON."""
        return json.loads(self.out)

    @property
    def error(self) -> str:
        """The one line of a refused or failed command."""
        lines = [line for line in self.err.splitlines() if line.startswith('blockmirror: error')]
        assert len(lines) == 1, f'{len(lines)} error lines: {self.err}'
        return lines[0]


class Command:
    """Runs the command with a configuration and a journal of its own.

    Whatever a command prints is kept in the lab's artefacts, where the search for secrets
    goes through it.
    """

    def __init__(self, lab: Lab) -> None:
        self.home = lab.artefacts_dir / uuid.uuid4().hex[:12]
        self.home.mkdir(parents=True)
        self.journal_path = self.home / 'journal' / 'journal.sqlite'
        self.config = self.home / 'blockmirror.conf'
        self.config.write_text(_CONF.format(journal=self.journal_path))
        self._count = 0

    def configure(self, **options: object) -> None:
        """Add options to the configuration."""
        with self.config.open('a') as conf:
            conf.writelines(f'{name} = {value}\n' for name, value in options.items())

    def connection_file(self, info: dict[str, Any]) -> str:
        """Write a connection_info and return its path; it holds secrets, so it is no artefact."""
        path = Path(os.environ.get('TMPDIR', '/tmp')) / f'connection-{uuid.uuid4()}.json'
        path.touch(mode=0o600)
        path.write_text(json.dumps(info))
        return str(path)

    def argv(self, *args: object, crash: str = '') -> list[str]:
        """The command line; with ``crash`` the process kills itself, see ``crashing``."""
        start = (
            ['-m', 'tests.functional.crashing', crash]
            if crash
            else ['-m', 'blockmirror_driver.cli.main']
        )
        return [
            sys.executable,
            *start,
            '--debug',
            '--config-file',
            str(self.config),
            *map(str, args),
        ]

    def run(self, *args: object, timeout: float = DEADLINE) -> Result:
        """Run a command to its end."""
        running = self.start(*args)
        return running.wait(timeout)

    def start(self, *args: object, crash: str = '') -> Running:
        """Start a command and return at once."""
        self._count += 1
        argv = self.argv(*args, crash=crash)
        return Running(argv, self.home / f'{self._count:02}-{args[0]}')


class Running:
    """A command under way; its events can be waited for."""

    def __init__(self, argv: Sequence[str], log: Path) -> None:
        self._argv = argv
        self._log = log
        self._out: list[str] = []
        self._err: list[str] = []
        self._lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        self.process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, 'PYTHONUNBUFFERED': '1'},
        )
        self._readers = [
            self._read(self.process.stdout, self._out, self._lines.put),
            self._read(self.process.stderr, self._err, lambda _line: None),
        ]

    def _read(
        self, stream: Any, kept: list[str], tell: Callable[[str | None], None]
    ) -> threading.Thread:
        def read() -> None:
            for line in stream:
                kept.append(line)
                tell(line)
            tell(None)

        thread = threading.Thread(target=read, daemon=True)
        thread.start()
        return thread

    def wait_event(
        self, wanted: Callable[[dict[str, Any]], bool], timeout: float = DEADLINE
    ) -> dict[str, Any]:
        """Wait for an event of ``--events jsonl``.

        :raise AssertionError: the command ended, or the time passed, without it.
        """
        while True:
            try:
                line = self._lines.get(timeout=timeout)
            except queue.Empty:
                raise AssertionError(f'no such event in {timeout} s: {self._out}') from None
            if line is None:
                self._lines.put(None)
                for reader in self._readers:
                    reader.join(timeout)
                raise AssertionError(f'ended without it: {self._out[-5:]} {self._err[-15:]}')
            try:
                event = json.loads(line)
            except json.JSONDecodeError:
                continue
            if wanted(event):
                return dict(event)

    def wait_state(self, *states: str, timeout: float = DEADLINE) -> dict[str, Any]:
        """Wait until the swap is in one of these states."""
        return self.wait_event(lambda event: event.get('state') in states, timeout)

    def wait_copied(self, least: int, timeout: float = DEADLINE) -> dict[str, Any]:
        """Wait until the copy has moved this many bytes."""

        def moved(event: dict[str, Any]) -> bool:
            progress = event.get('progress') or {}
            return int(progress.get('cur') or 0) >= least

        return self.wait_event(moved, timeout)

    def wait_stopped(self) -> None:
        """Wait until the process has stopped itself."""
        os.waitid(os.P_PID, self.process.pid, os.WSTOPPED)

    def kill(self, number: signal.Signals = signal.SIGKILL) -> None:
        """Send a signal."""
        self.process.send_signal(number)

    def wait(self, timeout: float = DEADLINE) -> Result:
        """Wait for the end."""
        try:
            code = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
            raise AssertionError(
                f'{self._argv} still runs after {timeout} s: {self._err[-15:]}'
            ) from None
        for reader in self._readers:
            reader.join()
        out, err = ''.join(self._out), ''.join(self._err)
        self._log.with_suffix('.log').write_text(f'{self._argv}\n{code}\n{out}\n{err}')
        return Result(self._argv, code, out, err)
