# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later
"""Writes down everything that callbacks are handed, as loggers and dashboards do: results and the tasks' own fields."""

from __future__ import annotations

import os
from pathlib import Path

from ansible.plugins.callback import CallbackBase

DOCUMENTATION = """
name: nosy
type: notification
short_description: write down everything
description: [Writes down everything.]
"""


class CallbackModule(CallbackBase):
    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "nosy"

    def _note(self, result, *_args, **_options):
        with Path(os.environ["NOSY_FILE"]).open("a", encoding="utf-8") as stream:
            print(result._result, result._task_fields, result._task.dump_attrs(), file=stream)

    v2_runner_on_ok = v2_runner_on_failed = v2_runner_on_skipped = v2_runner_on_unreachable = _note
