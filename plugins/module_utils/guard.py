# Copyright (c) 2026 The securebox.stack maintainers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Confirm or roll back: the half that lives on the changed machine.

Before a change that could lock everybody out, its files are copied aside and a timer is started that puts them back.
Only a new login through the new settings takes the timer away. The timer is a unit on disk, not a transient one:
a machine that is cut off and then reset finds its old state again too.

One directory is the whole state, and renaming it is what decides between confirming and rolling back:
C(armed) becomes either C(confirmed) or C(restoring), never both.

Putting back needs no room on the disk (every copy lies on the file system of its file, and is renamed), may be cut off
at any moment, and is tried again until all of it is there.
"""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import typing as t
from pathlib import Path

STATE_DIRECTORY = Path("/var/lib/securebox/rollback")
# Without a timer nothing has to survive a reboot, and a file with secrets leaves no copy on the disk.
FLEETING_STATE_DIRECTORY = Path("/run/securebox/rollback")
# A mark that a restart of the machine takes away, for then every daemon has read what was on the disk.
UNSEEN_DIRECTORY = Path("/run/securebox/unseen")
UNIT_DIRECTORY = Path("/etc/systemd/system")
# pam-auth-update takes whatever lies in its directory for a profile.
EVERYTHING_IS_READ = ("/usr/share/pam-configs",)

# What the confirming login has to hear: an exit code of 0 also comes from a forced command that ran nothing of ours.
CONFIRMED = "securebox-confirmed"

SCRIPT = """#!/bin/sh
# Puts the state before the change back, unless a login through the new settings confirmed it first.
state={state}
if [ "$1" = confirm ]; then
mv "$state/armed" "$state/confirmed" 2>/dev/null || {{ {late}; exit 1; }}
systemctl stop {timer}
rm -rf {units} {beside} "$state"
echo {confirmed}
exit 0
fi
# Where a reset or a failure ended this before, it goes on.
mv "$state/armed" "$state/restoring" 2>/dev/null || [ -d "$state/restoring" ] || exit 0
echo "No login confirmed the change of {name}: putting the old settings back."
if [ ! -e {unseen} ]; then
:
{undo}
fi
back() {{
if [ -e "$1" ] || [ -L "$1" ]; then mv -fT "$1" "$2" || failed=yes; fi
}}
failed=
{files}
# Commands that do something else on the way back can tell by this.
export SECUREBOX_RESTORING=yes
if [ "$failed" ]; then
echo "Not all of the old settings of {name} are back yet."
exit 1
fi
# A daemon that never saw the new settings is left in peace, and one is not restarted into settings that are broken.
if [ ! -e {unseen} ]; then
if {check}; then
:
{restore}
else
echo "The old settings of {name} are back, but not in force: see the error above."
exit 1
fi
fi
rm -rf {units} "$state"
if systemctl --quiet is-active {timer}; then systemctl stop {timer}; systemctl daemon-reload; fi
"""

# It tries again: what stood in the way, a full disk or somebody's half-finished work, may be gone by then.
SERVICE = """[Unit]
Description=Put the settings of {name} back, unless a login confirmed the new ones
StartLimitIntervalSec=0

[Service]
Type=oneshot
ExecStart=/bin/sh {script}
Restart=on-failure
RestartSec=10
"""

TIMER = """[Unit]
Description=Wait for a login that confirms the new settings of {name}

[Timer]
OnActiveSec={seconds}
AccuracySec=1

[Install]
WantedBy=timers.target
"""

LATE = "the login came too late, the old settings are back already"


class NotRestored(RuntimeError):
    """The old state could not be put back at once."""

    @property
    def reason(self) -> str:
        """What made the putting back necessary."""
        return str(self.__context__ or "An earlier run was cut off")


class Guard:
    """The saved state of one change, and the timer that puts it back."""

    def __init__(
        self, name: str, run: t.Callable[[list[str]], t.Any], root: Path = Path("/"), timed: bool = True
    ) -> None:
        self.name = name
        self.unit = f"securebox-rollback-{name}"
        self._run = run
        self._root = root
        self._state = self._at((STATE_DIRECTORY if timed else FLEETING_STATE_DIRECTORY) / name)
        self._unseen = self._at(UNSEEN_DIRECTORY / name)
        self._units = self._at(UNIT_DIRECTORY)

    def _at(self, path: str | Path) -> Path:
        return self._root / str(path).lstrip("/")

    @property
    def armed(self) -> bool:
        """Something is saved that was neither confirmed nor put back to its end."""
        return (self._state / "armed").is_dir() or (self._state / "restoring").is_dir()

    @property
    def complete(self) -> bool:
        """The change was made to its end: only its confirmation is missing."""
        return (self._state / "armed" / "complete").exists()

    def declare_applying(self) -> None:
        """From now on daemons may have seen the new settings."""
        self._unseen.unlink(missing_ok=True)

    def declare_complete(self) -> None:
        """All is made. What the making took, minutes on a slow machine, is not taken from the time to confirm it."""
        (self._state / "armed" / "complete").touch()
        timer = self._unit_files()[1]
        if timer.exists():
            self._run(["systemctl", "restart", timer.name])

    def save(
        self, paths: t.Sequence[str], restore: t.Sequence[t.Sequence[str]], check: t.Sequence[t.Sequence[str]] = (),
        undo: t.Sequence[t.Sequence[str]] = (),
    ) -> None:
        """Copy what is at these paths aside, with the commands that judge it and make it effective again.

        C(undo) runs before anything is put back: only the new settings know what they have started.
        """
        shutil.rmtree(self._state, ignore_errors=True)
        saved = self._state / "new"
        beside: list[Path] = []
        try:
            saved.mkdir(parents=True, mode=0o700)
            files = [self._save(path, saved / str(number), beside) for number, path in enumerate(paths)]
            self._script.write_text(
                SCRIPT.format(
                    name=self.name,
                    state=shlex.quote(str(self._state)),
                    unseen=shlex.quote(str(self._unseen)),
                    files="\n".join(files),
                    beside=shlex.join(map(str, beside)),
                    check=" && ".join(shlex.join(command) for command in check) or "true",
                    undo="\n".join(shlex.join(command) for command in undo),
                    restore="\n".join(shlex.join(command) for command in restore),
                    timer=self.unit + ".timer",
                    units=shlex.join(map(str, self._unit_files())),
                    late=f"echo {shlex.quote(LATE)} >&2",
                    confirmed=CONFIRMED,
                )
            )
            self._unseen.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._unseen.touch()
            # The files of the change reach the disk at once. What puts them back has to be there before.
            settle(self._script, saved, *saved.iterdir(), *beside)
        except BaseException:
            self._forget(beside)
            raise
        # From here on the script has something to put back; before, it would have done nothing.
        saved.rename(self._state / "armed")
        settle(self._state)
        self._beside = beside

    def arm(self, seconds: int) -> None:
        """Put the saved state back after so many seconds."""
        service, timer, wanted = self._unit_files()
        try:
            service.write_text(SERVICE.format(name=self.name, script=self._script))
            timer.write_text(TIMER.format(name=self.name, seconds=seconds))
            wanted.parent.mkdir(exist_ok=True)
            if not wanted.is_symlink():
                wanted.symlink_to(timer)
            settle(service, timer, wanted.parent, service.parent)
            self._run(["systemctl", "daemon-reload"])
            self._run(["systemctl", "start", timer.name])
        except BaseException:
            # Nothing was changed yet, and without a timer nothing will be.
            for unit in self._unit_files():
                unit.unlink(missing_ok=True)
            self._forget(self._beside)
            raise

    def restore(self) -> None:
        """Put the saved state back now; the script also takes the timer away."""
        timed = self._unit_files()[1].exists()
        failure = None
        try:
            self._run(["systemctl", "start", self.unit + ".service"] if timed else ["/bin/sh", str(self._script)])
        except Exception as error:
            failure = f"The host goes on trying, see `journalctl --unit {self.unit}.service`" if timed else str(error)
        if failure:
            raise NotRestored(f"The old settings are not all back in force yet. {failure}")

    def discard(self) -> None:
        """The change was made without a timer, and it worked."""
        self._forget(self._beside)

    def _forget(self, beside: t.Iterable[Path]) -> None:
        for copy in beside:
            copy.unlink(missing_ok=True)
        self._unseen.unlink(missing_ok=True)
        shutil.rmtree(self._state, ignore_errors=True)

    def confirm_command(self) -> list[str]:
        """What the new login runs. Renaming fails if the timer was faster, and so does the confirmation then."""
        script = shlex.quote(str(self._script))
        return ["/bin/sh", "-c",
                f"if [ -e {script} ]; then exec /bin/sh {script} confirm; fi; echo {shlex.quote(LATE)} >&2; exit 1"]

    def restore_command(self) -> list[str]:
        """What the old connection runs. Nothing is left to do where the timer was faster."""
        script = shlex.quote(str(self._script))
        return ["/bin/sh", "-c", f"if [ -e {script} ]; then systemctl start {self.unit}.service; fi"]

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

    def _save(self, path: str, copy: Path, beside: list[Path]) -> str:
        """The command that puts the file back. Nothing beside it is touched, and of a directory only who may enter."""
        source = self._at(path)
        if not source.exists() and not source.is_symlink():
            # Directories that were not there either go too, unless somebody else has put something into them since.
            missing = [str(directory) for directory in source.parents if not directory.exists()]
            return "\n".join([
                f"{shlex.join(['rm', '-f', str(source)])} || failed=yes",
                *(f"rmdir {shlex.quote(directory)} 2>/dev/null" for directory in missing)])
        if source.is_dir() and not source.is_symlink():
            status = source.stat()
            return (f"{shlex.join(['chown', f'{status.st_uid}:{status.st_gid}', str(source)])} &&"
                    f" {shlex.join(['chmod', f'{stat.S_IMODE(status.st_mode):04o}', str(source)])} || failed=yes")
        now = self._state / "restoring" / copy.name
        if not same_file_system(source, copy.parent):
            # Another file system: renaming works within one only. Directories of configuration pass over such names,
            # but for these.
            directory = source.parent.parent if str(source.parent).endswith(EVERYTHING_IS_READ) else source.parent
            copy = now = directory / f".{source.name}.{self.unit}"
            beside.append(copy)
        self._run(["cp", "-a", "--remove-destination", str(source), str(copy)])
        return shlex.join(["back", str(now), str(source)])


def same_file_system(one: Path, other: Path) -> bool:
    return one.lstat().st_dev == other.stat().st_dev


def settle(*paths: Path) -> None:
    """Have it on the disk: a machine that is reset a moment later finds it."""
    for path in paths:
        if not path.is_symlink():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.fsync(handle)
            finally:
                os.close(handle)
