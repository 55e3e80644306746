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
"""Programs that stay: each takes a line of JSON, does what it says, and answers with a line.

So that what starting an interpreter costs is no part of what is measured.
"""

from __future__ import annotations

import contextlib
import json
import select
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TextIO

from tests.lab.layout import LabError
from tests.lab.namespace import REPOSITORY

#: Seconds that a program may take to start.
_START_S = 120.0
#: Seconds that it may take to end once its input is closed.
_END_S = 20.0


class Program:
    """One of them, seen by whoever uses it. One thread uses it.

    :param argv: its command line; it answers ``{}`` when it is ready
    :param log: where its stderr goes
    """

    def __init__(self, name: str, argv: Sequence[str], log: Path) -> None:
        self._name = name
        self._log = log
        with log.open('ab') as err:
            self.process = subprocess.Popen(
                argv,
                cwd=REPOSITORY,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=err,
            )
        self._answer(_START_S)

    def ask(self, command: dict[str, Any], timeout_s: float) -> dict[str, Any]:
        """Have it do something, and return what it answers.

        :raise LabError: it failed, ended, or took longer than `timeout_s` seconds
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(command).encode() + b'\n')
            self.process.stdin.flush()
        except OSError as error:
            raise LabError(self._name, f'has ended; see {self._log}') from error
        return self._answer(timeout_s)

    def close(self) -> None:
        """End it."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(_END_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()

    def _answer(self, timeout_s: float) -> dict[str, Any]:
        assert self.process.stdout is not None
        # One answer for each command: nothing is left in the buffer before it is asked for.
        if not select.select([self.process.stdout], [], [], timeout_s)[0]:
            raise LabError(self._name, f'no answer within {timeout_s:g} s; see {self._log}')
        line = self.process.stdout.readline()
        if not line:
            raise LabError(self._name, f'has ended; see {self._log}')
        answer: dict[str, Any] = json.loads(line)
        if 'error' in answer:
            raise LabError(self._name, str(answer['error'])[-300:])
        return answer


def serve(act: Callable[[dict[str, Any]], dict[str, Any]], answers: TextIO) -> None:
    """The program's side: answer each line of standard input until that is closed.

    :param answers: what was standard output before :func:`own_stdout`
    """
    _tell(answers, {})
    for line in sys.stdin:
        try:
            answer = act(json.loads(line))
        except Exception as error:  # noqa: BLE001 - whoever asked decides what that means
            answer = {'error': f'{type(error).__name__}: {error}'}
        _tell(answers, answer)


def own_stdout() -> TextIO:
    """Return standard output, and let nobody else's prints go there from now on."""
    answers, sys.stdout = sys.stdout, sys.stderr
    return answers


def _tell(answers: TextIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer) + '\n')
    answers.flush()
