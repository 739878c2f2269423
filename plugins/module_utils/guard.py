# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirm or roll back: the half that lives on the changed machine.

Before a change that could lock everybody out, its files are copied aside and a timer is started that puts them back.
Only a new login through the new settings takes the timer away. The timer is a unit on disk, not a transient one:
a machine that is cut off and then reset finds its old state again too.

One directory is the whole state, and renaming it is what decides between confirming and rolling back:
C(armed) becomes either C(confirmed) or C(restored), never both.
"""

from __future__ import annotations

import shlex
import shutil
import typing as t
from pathlib import Path

STATE_DIRECTORY = Path("/var/lib/securebox/rollback")
# Without a timer nothing has to survive a reboot, and a file with secrets leaves no copy on the disk.
FLEETING_STATE_DIRECTORY = Path("/run/securebox/rollback")
UNIT_DIRECTORY = Path("/etc/systemd/system")

SCRIPT = """#!/bin/sh
# Puts the state before the change back, unless a login through the new settings confirmed it first.
state={state}
mv "$state/armed" "$state/restored" 2>/dev/null || exit 0
echo "No login confirmed the change of {name}: putting the old settings back."
{files}
# A daemon that never saw the new settings is left in peace, and one is not restarted into settings that are broken.
if [ -e "$state/restored/applying" ] && {check}; then
:
{restore}
fi
rm -f {units}
if systemctl --quiet is-active {timer}; then systemctl stop {timer}; fi
"""

SERVICE = """[Unit]
Description=Put the settings of {name} back, unless a login confirmed the new ones

[Service]
Type=oneshot
ExecStart=/bin/sh {script}
"""

TIMER = """[Unit]
Description=Wait for a login that confirms the new settings of {name}

[Timer]
OnActiveSec={seconds}
AccuracySec=1

[Install]
WantedBy=timers.target
"""


class Guard:
    """The saved state of one change, and the timer that puts it back."""

    def __init__(
        self, name: str, run: t.Callable[[list[str]], None], root: Path = Path("/"), timed: bool = True
    ) -> None:
        self.name = name
        self.unit = f"securebox-rollback-{name}"
        self._run = run
        self._root = root
        self._state = self._at((STATE_DIRECTORY if timed else FLEETING_STATE_DIRECTORY) / name)
        self._units = self._at(UNIT_DIRECTORY)

    def _at(self, path: str | Path) -> Path:
        return self._root / str(path).lstrip("/")

    @property
    def armed(self) -> bool:
        """Something is saved that was neither confirmed nor put back."""
        return (self._state / "armed").is_dir()

    @property
    def complete(self) -> bool:
        """The change was made to its end: only its confirmation is missing."""
        return (self._state / "armed" / "complete").exists()

    def declare_applying(self) -> None:
        """From now on daemons may have seen the new settings."""
        (self._state / "armed" / "applying").touch()

    def declare_complete(self) -> None:
        """All is made. What the making took, minutes on a slow machine, is not taken from the time to confirm it."""
        (self._state / "armed" / "complete").touch()
        timer = self._unit_files()[1]
        if timer.exists():
            self._run(["systemctl", "restart", timer.name])

    def save(
        self, paths: t.Sequence[str], restore: t.Sequence[t.Sequence[str]], check: t.Sequence[t.Sequence[str]] = ()
    ) -> None:
        """Copy what is at these paths aside, with the commands that judge it and make it effective again."""
        shutil.rmtree(self._state, ignore_errors=True)
        saved = self._state / "new"
        saved.mkdir(parents=True, mode=0o700)
        self._script.write_text(
            SCRIPT.format(
                name=self.name,
                state=shlex.quote(str(self._state)),
                files="\n".join(self._save(path, saved / str(number)) for number, path in enumerate(paths)),
                check=" && ".join(shlex.join(command) for command in check) or "true",
                restore="\n".join(shlex.join(command) for command in restore),
                timer=self.unit + ".timer",
                units=" ".join(shlex.quote(str(unit)) for unit in self._unit_files()),
            )
        )
        # From here on the script has something to put back; before, it would have done nothing.
        (self._state / "new").rename(self._state / "armed")

    def arm(self, seconds: int) -> None:
        """Put the saved state back after so many seconds."""
        service, timer, wanted = self._unit_files()
        service.write_text(SERVICE.format(name=self.name, script=self._script))
        timer.write_text(TIMER.format(name=self.name, seconds=seconds))
        wanted.parent.mkdir(exist_ok=True)
        if not wanted.is_symlink():
            wanted.symlink_to(timer)
        self._run(["systemctl", "daemon-reload"])
        self._run(["systemctl", "start", timer.name])

    def restore(self) -> None:
        """Put the saved state back now; the script also takes the timer away."""
        timed = self._unit_files()[1].exists()
        self._run(self.restore_command() if timed else ["/bin/sh", str(self._script)])

    def discard(self) -> None:
        """The change was made without a timer, and it worked."""
        shutil.rmtree(self._state)

    def confirm_command(self) -> list[str]:
        """What the new login runs. Renaming fails if the timer was faster, and so does the confirmation then."""
        steps = [
            ["mv", str(self._state / "armed"), str(self._state / "confirmed")],
            ["systemctl", "stop", self.unit + ".timer"],
            ["rm", "-rf", *map(str, self._unit_files()), str(self._state)],
        ]
        return ["/bin/sh", "-c", " && ".join(shlex.join(step) for step in steps)]

    def restore_command(self) -> list[str]:
        return ["systemctl", "start", self.unit + ".service"]

    @property
    def _script(self) -> Path:
        return self._state / "restore"

    def _unit_files(self) -> list[Path]:
        timer = self.unit + ".timer"
        return [
            self._units / (self.unit + ".service"),
            self._units / timer,
            self._units / "timers.target.wants" / timer,
        ]

    def _save(self, path: str, copy: Path) -> str:
        """The command that puts the file back. Directories above it are never touched, nor is anything beside it."""
        source = self._at(path)
        if not source.exists() and not source.is_symlink():
            return shlex.join(["rm", "-f", str(source)])
        self._run(["cp", "-a", str(source), str(copy)])
        now = self._state / "restored" / copy.name
        return shlex.join(["cp", "-a", "--remove-destination", str(now), str(source)])
