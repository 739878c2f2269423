# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What holds for the project as a whole."""

from __future__ import annotations

import ast
import re
import subprocess
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
SUITE = ROOT / "tests" / "testinfra"
TEXT = {".py", ".yml", ".yaml", ".md", ".j2", ".toml", ".cfg", ".txt", ".sh", ".html", ".json", ""}


def tracked() -> list[Path]:
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip("not a working copy")
    paths = [ROOT / name for name in done.stdout.split("\0") if name]
    return [path for path in paths if path.is_file() and not path.is_symlink() and path.suffix in TEXT]


def text_of(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except UnicodeDecodeError:
        return ""


def controls() -> dict[str, dict]:
    listed = yaml.safe_load((SUITE / "controls.yml").read_text(encoding="utf-8"))["controls"]
    assert len({item["id"] for item in listed}) == len(listed), "an id twice"
    return {item["id"]: item for item in listed}


def marked(path: Path) -> set[str]:
    """The control ids that the tests of a file are marked with."""
    found = set()
    for node in ast.walk(ast.parse(text_of(path))):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "control":
            found |= {argument.value for argument in node.args if isinstance(argument, ast.Constant)}
    return found


def test_marked_controls_exist():
    """A test that proves a control by a mistyped name proves nothing."""
    tests = [
        path
        for path in [*ROOT.glob("molecule/**/test_*.py"), *ROOT.glob("tests/**/test_*.py")]
        if "unit" not in path.parts
    ]
    assert tests
    for path in tests:
        assert not marked(path) - set(controls()), f"{path.relative_to(ROOT)}: unknown controls"


def test_promised_controls_have_a_test_on_the_running_box():
    """`since` says that this version proves a control; then its suite has a test of it."""
    proved = set().union(*(marked(path) for path in SUITE.glob("test_*.py")))
    promised = {name for name, item in controls().items() if item.get("since")}
    assert promised - proved == set(), "promised, but no test proves it"
    assert proved - promised == set(), "proved, but controls.yml does not say since when"


def test_every_test_of_the_suite_belongs_to_a_control_and_says_why():
    for path in SUITE.glob("test_*.py"):
        for node in ast.parse(text_of(path)).body:
            if isinstance(node, ast.FunctionDef) and node.name.startswith("test_"):
                names = [ast.unparse(decorator) for decorator in node.decorator_list]
                assert any("mark.control" in name for name in names), f"{path.name}: {node.name} belongs to no control"
                assert ast.get_docstring(node), f"{path.name}: {node.name} does not say why"


def test_every_control_has_a_reference():
    for name, item in controls().items():
        assert item["title"], name
        assert item["references"].get("cis") or item["references"].get("hipaa"), name


# What belongs to one machine, or to no one: addresses of registries come from the user's own configuration.
FORBIDDEN = [
    (r"(?<![\w.])/work/", "a path of somebody's machine"),
    (r"/tmp/(?:brief|verify|lab\b)", "a path of somebody's machine"),
    (r"\bdeb\.debian\.org\b|\bpypi\.org\b|\bfiles\.pythonhosted\.org\b|\bgalaxy\.ansible\.com\b", "a registry's name"),
    (r"-----BEGIN (?:OPENSSH|RSA|EC|PRIVATE)[A-Z ]*KEY-----\n[A-Za-z0-9+/=\n]{60,}", "a private key"),
]


@pytest.mark.parametrize(("pattern", "what"), FORBIDDEN)
def test_nothing_of_one_machine_is_committed(pattern, what):
    own = Path(__file__).resolve()
    found = [
        f"{path.relative_to(ROOT)}: {match.group(0)}"
        for path in tracked()
        if path.resolve() != own and (match := re.search(pattern, text_of(path)))
    ]
    assert not found, f"{what}: {found}"


def plugins(kind: str) -> dict[str, Path]:
    return {path.stem: path for path in (ROOT / "plugins" / kind).glob("*.py") if path.stem != "__init__"}


def documentation(path: Path) -> dict:
    for node in ast.parse(text_of(path)).body:
        if isinstance(node, ast.Assign) and getattr(node.targets[0], "id", "") == "DOCUMENTATION":
            return yaml.safe_load(ast.literal_eval(node.value))
    return {}


@pytest.mark.parametrize("name", sorted(plugins("modules")))
def test_modules_are_documented(name):
    document = documentation(plugins("modules")[name])
    assert document.get("module") == name
    assert str(document.get("version_added")) == "0.1.0"
    assert document.get("author")
    source = text_of(plugins("modules")[name])
    assert "EXAMPLES = " in source
    assert "RETURN = " in source


def test_every_action_has_a_documented_module():
    assert set(plugins("action")) <= set(plugins("modules"))


def test_every_plugin_has_a_unit_test():
    """A module that is only the documentation of an action is tested by the action's."""
    paths = list((ROOT / "tests" / "unit").rglob("test_*.py"))
    tests = "\n".join(text_of(path) for path in paths)
    missing = [
        f"{kind}/{name}"
        for kind in ("action", "connection", "filter", "modules")
        for name in plugins(kind)
        if not re.search(rf"plugins[./]{kind}[./]{name}\b|plugins[./]{kind} import .*\b{name}\b", tests)
        and not any(path.stem.startswith(f"test_{name}") for path in paths)
        and not (kind == "modules" and name in plugins("action"))
    ]
    assert not missing, missing


def test_source_files_carry_the_licence():
    missing = [
        str(path.relative_to(ROOT))
        for path in tracked()
        if path.suffix == ".py"
        and text_of(path).strip()
        and "SPDX-License-Identifier: GPL-3.0-or-later" not in text_of(path)
    ]
    assert not missing, missing


PLAYBOOKS = sorted(path.name for path in (ROOT / "playbooks").glob("*.yml"))


@pytest.mark.parametrize("name", PLAYBOOKS)
def test_playbooks_import_what_exists(name):
    for play in yaml.safe_load(text_of(ROOT / "playbooks" / name)):
        assert play.get("name"), "a play without a name"
        imported = play.get("ansible.builtin.import_playbook")
        assert not imported or (ROOT / "playbooks" / imported).is_file(), f"{imported} does not exist"


def run_where(plays):
    """(group, role) of each role that the plays run; a task's own group is in its condition."""
    for play in plays:
        for entry in play.get("roles", []):
            yield play["hosts"], entry["role"]
        for task in play.get("tasks", []):
            call = task.get("ansible.builtin.import_role") or task.get("ansible.builtin.include_role")
            if call:
                own = re.fullmatch(r"'(\w+)' in group_names", str(task.get("when")))
                yield own.group(1) if own else play["hosts"], call["name"]


def test_the_list_of_roles_is_what_the_site_runs():
    """The input check and `verify` read the defaults of these: a role that is missing there is not checked."""
    listed = yaml.safe_load(text_of(ROOT / "playbooks/vars/roles.yml"))["__roles"]
    plays = [yaml.safe_load(text_of(ROOT / "playbooks" / name)) for name in ("host.yml", "tiers.yml")]
    run = [pair for book in plays for pair in run_where(book)]
    expected = sorted((group, f"securebox.stack.{role}") for group, roles in listed.items() for role in roles)
    assert sorted(run) == expected


def test_the_demo_is_the_example_but_for_its_own_files():
    """What `make demo` shows is what users copy: the same files, and what only a lab machine needs beside them."""
    example, demo = ROOT / "inventories/example", ROOT / "inventories/demo"
    for path in sorted((example / "group_vars").rglob("*.yml")):
        twin = demo / path.relative_to(example)
        if path.name != "vault.yml":
            assert twin.is_symlink(), f"{twin.relative_to(ROOT)} is no link to the example"
            assert twin.resolve() == path, f"{twin.relative_to(ROOT)} leads elsewhere"
    own = {path.name for path in demo.rglob("*.yml") if not path.is_symlink()}
    assert own <= {"hosts.yml", "zz_demo.yml", "zz_lab.yml", "vault.yml", "demo.yml"}, own
