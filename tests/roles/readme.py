"""Each role's README, made from its argument specification: `python -m tests.roles.readme` writes them."""

import re
from pathlib import Path

import yaml

CHECKOUT = Path(__file__).resolve().parents[2]
ROLES = tuple(sorted(path.name for path in (CHECKOUT / "roles").iterdir() if (path / "tasks").is_dir()))


def load(role: str, path: str) -> dict:
    return yaml.safe_load((CHECKOUT / "roles" / role / path).read_text(encoding="utf-8"))


def specification(role: str) -> dict:
    return load(role, "meta/argument_specs.yml")["argument_specs"]["main"]


def readme(role: str) -> str:
    """The text of roles/ROLE/README.md."""
    spec = specification(role)
    lines = [
        f"# {role}",
        "",
        f"{markdown(spec['short_description'])}.",
        "",
        *(f"{markdown(paragraph)}\n" for paragraph in spec["description"]),
        "## Variables",
        "",
        "| variable | type | default | meaning |",
        "|---|---|---|---|",
        *(row(name, option) for name, option in spec["options"].items()),
        "",
        "## Promises",
        "",
        "- Check mode works on an untouched machine and changes nothing.",
        "- A second run changes nothing; a changed configuration restarts what reads it.",
        "- No task handles a secret: programs make and keep their own keys, and print public halves only.",
        "- To roll back, run the role with the former variables; keys and data stay as they are.",
        "",
        "This page is made from `meta/argument_specs.yml`: `python -m tests.roles.readme` writes it.",
    ]
    return "\n".join(lines) + "\n"


def row(name: str, option: dict) -> str:
    kind = option["type"] + (f" of {option['elements']}" if "elements" in option else "")
    default = "required" if option.get("required") else f"`{written(option['default'])}`"
    choices = f" One of {', '.join(f'`{one}`' for one in option['choices'])}." if "choices" in option else ""
    return f"| `{name}` | {kind} | {default} | {markdown(option['description'])}{choices} |"


def written(value: object) -> str:
    return yaml.safe_dump(value, default_flow_style=True).strip().removesuffix("...").strip()


def markdown(text: str) -> str:
    return re.sub(r"C\(([^)]*)\)", r"`\1`", text)


if __name__ == "__main__":
    for one in ROLES:
        (CHECKOUT / "roles" / one / "README.md").write_text(readme(one), encoding="utf-8")
