"""The oracle for JSON bodies: the models generated from nearcore's OpenAPI, read strictly.

The models by themselves ignore fields they do not know, take the first member of a union that fits, and do not miss
a field with a default. Here a body must come out of its model as it went in, with every field the model has a place
for, unless that place may be null.
"""

import importlib
import pkgutil
import types
import typing
from collections.abc import Iterator
from functools import cache

import near_jsonrpc_models
from pydantic import BaseModel, RootModel

LEFT_OUT = {"state"}
"""Fields that nearcore writes only of kinds of accounts that the dev chain does not have."""


@cache
def model(name: str) -> type[BaseModel]:
    """The model class of that name, also one that the package does not export."""
    for module in pkgutil.iter_modules(near_jsonrpc_models.__path__):
        found = getattr(importlib.import_module(f"near_jsonrpc_models.{module.name}"), name, None)
        if found is not None:
            return found
    raise LookupError(f"near_jsonrpc_models has no class {name}")


def conforms(name: str, body: object) -> None:
    """Asserts that `body` is exactly what the model of that name describes."""
    parsed = model(name).model_validate(body, strict=True)
    unknown = sorted(_differences(body, parsed.model_dump(mode="json", by_alias=True, exclude_unset=True), name))
    assert not unknown, f"{name} does not know, or reads otherwise: {unknown}"
    absent = sorted(_absent(parsed, name))
    assert not absent, f"absent from the body of {name}: {absent}"


def causes(name: str) -> set[str]:
    """The names of the causes an error model knows."""
    union = model(name).model_fields["root"].annotation
    members = typing.get_args(union) or (union,)
    return {typing.get_args(each.model_fields["name"].annotation)[0] for each in members}


def _differences(sent: object, known: object, at: str) -> Iterator[str]:
    match sent, known:
        case dict(), dict():
            for name in sent:
                if name not in known:
                    yield f"{at}.{name}"
                else:
                    yield from _differences(sent[name], known[name], f"{at}.{name}")
        case list(), list() if len(sent) == len(known):
            for index, (one, other) in enumerate(zip(sent, known, strict=True)):
                yield from _differences(one, other, f"{at}[{index}]")
        case _ if sent != known and not at.endswith((".genesis_time", "_block_time")):
            yield at


def _absent(value: object, at: str) -> Iterator[str]:
    if isinstance(value, RootModel):
        yield from _absent(value.root, at)
    elif isinstance(value, BaseModel):
        for name, field in type(value).model_fields.items():
            if name in value.model_fields_set:
                yield from _absent(getattr(value, name), f"{at}.{name}")
            elif name not in LEFT_OUT and not _may_be_null(field.annotation):
                yield f"{at}.{name}"
    elif isinstance(value, list):
        for index, each in enumerate(value):
            yield from _absent(each, f"{at}[{index}]")
    elif isinstance(value, dict):
        for name, each in value.items():
            yield from _absent(each, f"{at}.{name}")


def _may_be_null(annotation: object) -> bool:
    return isinstance(annotation, types.UnionType | typing._UnionGenericAlias) and types.NoneType in typing.get_args(
        annotation
    )
