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
"""Starts a daemon, and reaps what its children leave: ``python -I reaper.py FD COMMAND...``.

A guest's QEMU is an orphan, and libvirt takes it for alive until its parent has read its exit
status. On a machine that is the first process, at once; in a container the first process may look
only every other second, and each end of a guest takes that long. So this process adopts them. The
daemon's pid is written to FD; it ends when nothing is left to wait for.
"""

import ctypes
import os
import sys

_PR_SET_CHILD_SUBREAPER = 36


def main(told: int, command: list[str]) -> None:
    """Start the command in a session of its own, and reap until there are no children."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), 'prctl')
    pid = os.fork()
    if not pid:
        os.close(told)
        os.setsid()
        os.execvp(command[0], command)
    os.write(told, str(pid).encode())
    os.close(told)
    while True:
        try:
            os.wait()
        except ChildProcessError:
            return


if __name__ == '__main__':
    main(int(sys.argv[1]), sys.argv[2:])
