# Copyright (c) 2026 The securebox.stack maintainers
# SPDX-License-Identifier: GPL-3.0-or-later

"""What every role keeps to, so that who knows one knows all."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
ROLES = sorted(path.name for path in (ROOT / "roles").iterdir() if path.is_dir())
PLATFORMS = {"Debian": {"bookworm", "trixie"}, "Ubuntu": {"jammy", "noble"}}
# Groups of the inventory: playbooks know them, roles do not.
GROUPS = ("box", "tiers", "proxy", "app", "db")
NOWHERE = object()


class Loader(yaml.SafeLoader):
    """Ansible's own tags are plain values here."""


for tag in ("!vault", "!unsafe"):
    Loader.add_constructor(tag, lambda loader, node: loader.construct_scalar(node))


def load(path: Path):
    return yaml.load(path.read_text(encoding="utf-8"), Loader)


def files(role: str, *parts: str, pattern: str = "*.yml") -> list[Path]:
    return sorted((ROOT / "roles" / role).joinpath(*parts).rglob(pattern))


@pytest.fixture(params=ROLES)
def role(request) -> str:
    return request.param


def spec(role: str) -> dict:
    return load(ROOT / "roles" / role / "meta" / "argument_specs.yml")["argument_specs"]["main"]


def defaults(role: str) -> dict:
    path = ROOT / "roles" / role / "defaults" / "main.yml"
    return (load(path) or {}) if path.is_file() else {}


def same(first, second) -> bool:
    """Equal, whatever the folding of long texts did to white space."""
    if isinstance(first, str) and isinstance(second, str):
        return first.split() == second.split()
    return type(first) is type(second) and first == second


def test_a_role_has_all_its_parts(role):
    for part in ("README.md", "meta/main.yml", "meta/argument_specs.yml", "tasks/main.yml"):
        assert (ROOT / "roles" / role / part).is_file(), f"roles/{role}/{part} is missing"
    assert (ROOT / "molecule" / role / "molecule.yml").is_file(), f"molecule/{role} is missing"


def test_defaults_are_those_of_the_specification(role):
    options = spec(role)["options"]
    documented = {name: option.get("default", NOWHERE) for name, option in options.items()}
    set_here = defaults(role)
    assert not set(set_here) - set(documented), "defaults without an option"
    for name, value in documented.items():
        assert (value is NOWHERE) == (name not in set_here), f"{name}: a default in one place only"
        assert value is NOWHERE or same(value, set_here[name]), f"{name}: {value!r} and {set_here[name]!r}"


def every_option(options: dict, path: str = ""):
    for name, option in options.items():
        yield f"{path}{name}", option
        yield from every_option(option.get("options", {}), f"{path}{name}.")


def test_every_option_says_what_it_is(role):
    assert spec(role).get("short_description")
    for name, option in every_option(spec(role)["options"]):
        assert option.get("description"), f"{name} has no description"
        assert option.get("type"), f"{name} has no type"
        assert option["type"] != "list" or option.get("elements"), f"{name} is a list of what?"
        assert not (option.get("required") and "default" in option), f"{name} is required, and has a default"


def test_names_begin_with_the_role(role):
    for name in [*spec(role)["options"], *defaults(role)]:
        assert name.startswith(f"{role}_"), name
    for path in files(role, "vars"):
        for name in load(path) or {}:
            assert name.startswith((f"__{role}_", f"{role}_")), f"{path.name}: {name}"


def tasks(items):
    for item in items or []:
        yield item
        for part in ("block", "rescue", "always"):
            yield from tasks(item.get(part))


def test_what_tasks_register_is_private(role):
    for path in [*files(role, "tasks"), *files(role, "handlers")]:
        for task in tasks(load(path)):
            names = [task["register"]] if "register" in task else []
            names += list(task.get("ansible.builtin.set_fact") or {})
            for name in names:
                # Where it goes back to the inventory's own way in, a role sets Ansible's variables.
                assert name.startswith((f"__{role}_", "ansible_")), f"{path.name}: {name}"


def test_tasks_have_names_and_full_module_names(role):
    keywords = {"name", "when", "vars", "loop", "block", "rescue", "always", "become", "notify", "listen", "until"}
    for path in [*files(role, "tasks"), *files(role, "handlers")]:
        for task in tasks(load(path)):
            assert task.get("name"), f"{path.name}: a task without a name"
            if not set(task) & {"block"}:
                modules = [key for key in task if "." in key]
                assert len(modules) == 1, f"{path.name}: {task['name']}: {sorted(set(task) - keywords)}"


def test_meta_says_where_the_role_runs(role):
    info = load(ROOT / "roles" / role / "meta" / "main.yml")["galaxy_info"]
    assert info["license"] == "GPL-3.0-or-later"
    assert str(info["min_ansible_version"]) == "2.18"
    assert info["description"]
    platforms = {item["name"]: set(item["versions"]) for item in info["platforms"]}
    assert platforms["Debian"] == PLATFORMS["Debian"], "both releases of Debian are tested"
    assert platforms.get("Ubuntu", set()) <= PLATFORMS["Ubuntu"]


def test_roles_know_no_group_of_the_inventory(role):
    names = "|".join(GROUPS)
    pattern = re.compile(rf"groups\.(?:{names})\b|groups\[['\"](?:{names})['\"]\]|['\"](?:{names})['\"] in group_names")
    for path in (ROOT / "roles" / role).rglob("*"):
        if path.is_file() and path.suffix in (".yml", ".j2"):
            found = pattern.search(path.read_text(encoding="utf-8"))
            assert not found, f"{path.relative_to(ROOT)}: {found.group(0)}"


def test_variables_of_the_site_are_read_in_defaults_only(role):
    for path in [*files(role, "tasks"), *files(role, "handlers"), *files(role, "templates", pattern="*")]:
        if path.is_file():
            # securebox.stack is the collection, /…/securebox a place, securebox-x a command.
            found = re.search(r"(?<![\w./-])securebox_(?!login)\w+", path.read_text(encoding="utf-8"))
            assert not found, f"{path.relative_to(ROOT)}: {found.group(0)}"


# Their programs take no comment, or their first line means something.
# Formats that know no comments, and files that say it themselves.
BARE = (".html.j2", ".json.j2", ".xml.j2", "rules.j2", "authorized_keys/admin.j2")
BARE_DIRECTORIES = ("usr/share/pam-configs",)


def test_templates_say_who_wrote_the_file(role):
    for path in files(role, "templates", pattern="*.j2"):
        lines = path.read_text(encoding="utf-8").splitlines()
        head = "\n".join(lines[:3])
        if not str(path).endswith(BARE) and not str(path.parent).endswith(BARE_DIRECTORIES):
            assert "ansible_managed" in head, f"{path.relative_to(ROOT)} does not begin with ansible_managed"


def test_the_role_says_how_to_undo_it(role):
    text = (ROOT / "roles" / role / "README.md").read_text(encoding="utf-8")
    assert text.startswith(f"# {role}"), "the title is the role's name"
    assert re.search(r"undo", text, re.IGNORECASE), "how to undo"
    assert "```yaml" in text, "an example"
