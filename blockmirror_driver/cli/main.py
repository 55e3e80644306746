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
"""Entry point of the ``blockmirror`` command."""

from __future__ import annotations

import gc
import os
import resource
import sys
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from blockmirror_driver.cli.app import BlockmirrorApp

#: 128 + SIGINT: interrupted; a running swap was left running.
INTERRUPTED: Final = 130
#: 128 + SIGPIPE: whoever read our output went away.
BROKEN_PIPE: Final = 141


def run(app: BlockmirrorApp, argv: list[str]) -> int:
    """Run the application and return the exit code, whatever happens."""
    code = BROKEN_PIPE
    try:
        code = app.run(argv)
        app.stdout.flush()
    except SystemExit as stop:
        return stop.code if isinstance(stop.code, int) else 0
    except BrokenPipeError:
        _silence_stdout()
        # What became of a swap is worth more than that nobody reads it.
        return code if app.changes else BROKEN_PIPE
    except KeyboardInterrupt:
        if app.changes:
            text = 'ended at once; the job is as it was; blockmirror recover takes it up again'
            app.say(text, important=True)
        return INTERRUPTED
    return code


def main(argv: list[str] | None = None) -> int:
    """Run ``blockmirror`` with ``argv`` (default: the process's own) and return its exit code.

    This process and QEMU's tools that it starts leave no core file: it would hold secrets.
    """
    # Python looks for garbage among all that is imported, again and again, and once more at the
    # exit: a third of the time of a command that only looks. A service or a journal turns it on.
    gc.disable()
    try:
        from blockmirror_driver.cli.app import BlockmirrorApp

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        return run(BlockmirrorApp(), sys.argv[1:] if argv is None else argv)
    finally:
        gc.freeze()
        gc.enable()


def _silence_stdout() -> None:
    """Keep the interpreter from complaining when it flushes stdout at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


if __name__ == '__main__':
    sys.exit(main())
