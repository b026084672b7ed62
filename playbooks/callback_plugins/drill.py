# ruff: noqa: INP001  # Ansible loads plugins from a plain directory
"""What a drill prints while it runs, and the marks its report is made of.

One line per task: seconds since the start, then the task's name, which is a plain sentence. A failure prints
host and reason. A task with a variable `drill_mark` is recorded as one JSON line per host in the file named by
the environment's SHAREKEEPER_DRILL_MARKS (sharekeeper_devnet.drill_marks reads it). Marked tasks print public
facts only: what they print ends up in the report.

A drill's playbook played without `python -m sharekeeper_devnet.drill` is handed to it: only a process around Ansible
can start clean, end every process whatever the signal, and write the report.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from ansible.plugins.callback import CallbackBase

if TYPE_CHECKING:
    from ansible.executor.task_result import CallbackTaskResult
    from ansible.inventory.host import Host
    from ansible.playbook import Playbook
    from ansible.playbook.play import Play
    from ansible.playbook.task import Task

DOCUMENTATION = """
    name: drill
    type: stdout
    short_description: progress of a drill in plain sentences, and its marks
    description:
      - Prints one line per task and records marked tasks for the drill report.
"""

_PLAYBOOKS = Path(__file__).resolve().parents[1]
_DRILLS = {
    _PLAYBOOKS / "drill.yml": "loss",
    _PLAYBOOKS / "drill_life.yml": "life",
    _PLAYBOOKS / "drill_hard.yml": "hard-loss",
}
_QUIET_ACTIONS = (
    "set_fact",
    "assert",
    "include_tasks",
    "import_tasks",
    "include_role",
    "import_role",
    "meta",
    "validate_argument_spec",
)


class CallbackModule(CallbackBase):
    """Prints progress; records marks."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "stdout"
    CALLBACK_NAME = "drill"

    def __init__(self) -> None:
        super().__init__()
        self._began = time.time()
        self._started: dict[tuple[str, str], float] = {}
        marks = os.environ.get("SHAREKEEPER_DRILL_MARKS")
        self._marks = Path(marks) if marks else None

    def v2_playbook_on_start(self, playbook: Playbook) -> None:
        path = Path(playbook._file_name).resolve()  # noqa: SLF001  # a playbook has no public name
        if self._marks is None and path in _DRILLS:
            _hand_over(path)

    def v2_playbook_on_play_start(self, play: Play) -> None:
        self._display.display(f"{self._elapsed()}  {play.get_name().strip()}", color="bright blue")
        self._record({"name": "play", "task": play.get_name().strip(), "start": time.time()})

    def v2_playbook_on_stats(self, _stats: object) -> None:
        self._record({"name": "end", "task": "the playbook ends", "start": time.time()})

    def v2_playbook_on_task_start(self, task: Task, is_conditional: bool) -> None:  # noqa: ARG002  # Ansible's signature
        self._announce(task)

    def v2_playbook_on_handler_task_start(self, task: Task) -> None:
        self._announce(task)

    def v2_runner_on_start(self, host: Host, task: Task) -> None:
        self._started[host.get_name(), task._uuid] = time.time()  # noqa: SLF001  # a task has no public identity

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        self._finished(result, ok=True)

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        self._finished(result, ok=False)
        if not ignore_errors:
            self._fail(result)

    def v2_runner_on_unreachable(self, result: CallbackTaskResult) -> None:
        self._finished(result, ok=False)
        self._fail(result)

    def _elapsed(self) -> str:
        return f"{time.time() - self._began:6.1f} s"

    def _announce(self, task: Task) -> None:
        if task.action.removeprefix("ansible.builtin.") not in _QUIET_ACTIONS:
            name = task.get_name().rpartition(" : ")[2].rpartition(" | ")[2]
            self._display.display(f"{self._elapsed()}    {name}")

    def _fail(self, result: CallbackTaskResult) -> None:
        self._display.display(f"{self._elapsed()}    {result.host.get_name()}: {_reason(result.result)}", color="red")

    def _finished(self, result: CallbackTaskResult, *, ok: bool) -> None:
        mark = (result.task.vars or {}).get("drill_mark")
        if mark is None and ok:
            return
        host, answer = result.host.get_name(), result.result
        self._record(
            {
                "name": mark or "failure",
                "task": result.task.get_name().rpartition(" : ")[2],
                "host": host,
                "start": self._started.get((host, result.task._uuid), self._began),  # noqa: SLF001
                "end": time.time(),
                "ok": ok,
                "exit_status": answer.get("rc", 0),
                "command": answer.get("cmd", []),
                "facts": _facts(answer.get("stdout")),
                "message": "" if ok else _reason(answer),
            }
        )

    def _record(self, mark: dict[str, Any]) -> None:
        if self._marks is not None:
            with self._marks.open("a", encoding="utf-8") as file:
                file.write(json.dumps(mark) + "\n")


def _hand_over(path: Path) -> NoReturn:
    """This process becomes the drill, which plays the same words."""
    for stream in range(3):
        os.set_inheritable(stream, True)  # Ansible keeps its own from what it starts
    words = [word for word in sys.argv[1:] if word != "playbook" and Path(word).resolve() != path]
    drill = [sys.executable, "-m", "sharekeeper_devnet.drill", "--drill", _DRILLS[path]]
    os.execv(sys.executable, [*drill, *words])  # noqa: S606


def _facts(stdout: object) -> dict[str, Any]:
    """The JSON object a task printed; empty when it printed none."""
    try:
        value = json.loads(stdout) if isinstance(stdout, str) else {}
    except ValueError:
        return {}
    return value if isinstance(value, dict) else {}


def _reason(answer: Any) -> str:  # noqa: ANN401  # whatever a module returns
    """Why a task failed: what the program said, else what Ansible says."""
    said = _facts(answer.get("stdout"))
    error = said.get("error")
    if isinstance(error, dict):
        error = error.get("message")
    text = said.get("message") or error or answer.get("stderr") or answer.get("msg") or "failed without a word"
    return str(text).strip()
