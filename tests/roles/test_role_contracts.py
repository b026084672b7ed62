"""What a role says about its variables is what it does: specification, defaults, names and README agree."""

import re

import pytest

from tests.roles.readme import CHECKOUT, ROLES, load, readme, specification

TYPES = {"str": str, "path": str, "int": int, "bool": bool, "list": list, "dict": dict}


def task_files(role):
    return sorted((CHECKOUT / "roles" / role).glob("*/*.yml"))


def test_there_are_roles():
    assert set(ROLES) >= {"base", "near_node", "mpc_node", "backup_agent"}


@pytest.mark.parametrize("role", ROLES)
def test_the_specification_and_the_defaults_have_the_same_names_and_values(role):
    options = specification(role)["options"]
    documented = {name: option["default"] for name, option in options.items() if "default" in option}
    assert documented == load(role, "defaults/main.yml")
    assert [name for name, option in options.items() if ("default" in option) == option.get("required", False)] == []


@pytest.mark.parametrize("role", ROLES)
def test_every_default_has_the_documented_type(role):
    for name, option in specification(role)["options"].items():
        default = option.get("default")
        if default is None:
            continue
        assert type(default) is TYPES[option["type"]], name
        if option["type"] == "list":
            assert all(type(element) is TYPES[option["elements"]] for element in default), name
        assert default in option.get("choices", [default]), name


@pytest.mark.parametrize("role", ROLES)
def test_every_variable_carries_the_name_of_its_role(role):
    assert all(name.startswith(f"{role}_") for name in specification(role)["options"])
    assert all(name.startswith(f"__{role}_") for name in load(role, "vars/main.yml"))


@pytest.mark.parametrize("role", ROLES)
def test_every_documented_variable_is_used_and_every_used_one_documented(role):
    text = "\n".join(
        path.read_text(encoding="utf-8")
        for path in (CHECKOUT / "roles" / role).rglob("*")
        if path.is_file() and path.parent.name in {"tasks", "handlers", "templates", "vars"}
    )
    spec = specification(role)
    facts = set(re.findall(rf"fact C\(({role}_[a-z_]+)\)", " ".join(spec["description"])))
    used = set(re.findall(rf"(?<![a-z_/-]){role}_[a-z0-9_]+", text))
    assert used - facts == set(spec["options"])


@pytest.mark.parametrize("role", ROLES)
def test_no_role_knows_a_group_of_the_inventory(role):
    for path in task_files(role):
        assert not re.search(
            r"\bgroups\b|\bgroup_names\b|\bhostvars\b|\blocalnet_", path.read_text(encoding="utf-8")
        ), path


@pytest.mark.parametrize("role", ROLES)
def test_every_supervisor_that_may_be_chosen_is_there(role):
    supervisor = specification(role)["options"].get(f"{role}_supervisor", {})
    choices = supervisor.get("choices", [])
    files = {path.stem for path in (CHECKOUT / "roles" / role / "tasks").glob("service_*.yml")}
    assert {f"service_{choice}" for choice in choices} == files


@pytest.mark.parametrize("role", ROLES)
def test_the_readme_is_made_from_the_specification(role):
    found = (CHECKOUT / "roles" / role / "README.md").read_text(encoding="utf-8")
    assert found == readme(role), "run: python -m tests.roles.readme"
