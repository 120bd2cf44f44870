"""No pickle is written or read: a file that comes from elsewhere must not be able to run code."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source import PACKAGES, imports, modules

PICKLING = {
    "_pickle",
    "cloudpickle",
    "dbm",
    "dill",
    "jsonpickle",
    "joblib",
    "marshal",
    "pickle",
    "pickletools",
    "shelve",
    "sklearn.externals.joblib",
}

UNSAFE_CALLS = {
    "torch.load": "reads pickles; use safetensors",
    "torch.save": "writes pickles; use safetensors",
    "np.save": "writes pickles when the array holds objects",
    "pd.read_pickle": "reads pickles",
    "pandas.read_pickle": "reads pickles",
    "PPO.load": "reads cloudpickle; use rl.agent.load_agent",
    "ActorCriticPolicy.load": "reads cloudpickle; use rl.agent.load_agent",
    "VecNormalize.load": "reads pickles",
    "mlflow.pyfunc.load_model": "runs what the model's author wrote",
    "mlflow.pytorch.load_model": "reads pickles",
    "yaml.unsafe_load": "builds any object",
    "yaml.full_load": "builds many objects",
}

UNSAFE_METHODS = {"to_pickle", "read_pickle", "model_save", "save_replay_buffer", "load_replay_buffer"}


def offences(source: str, name: str) -> Iterator[str]:
    tree = ast.parse(source)
    for imported, line in imports(tree):
        parts = imported.split(".")
        if any(".".join(parts[:n]) in PICKLING for n in range(1, len(parts) + 1)):
            yield f"{name}:{line}: imports {imported}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called in UNSAFE_CALLS:
                yield f"{name}:{node.lineno}: {called} {UNSAFE_CALLS[called]}"
            if called.rpartition(".")[2] in UNSAFE_METHODS:
                yield f"{name}:{node.lineno}: {called} pickles"
            if keywords.get("allow_pickle", "False") != "False":
                yield f"{name}:{node.lineno}: allow_pickle is {keywords['allow_pickle']}"
            if (
                called == "yaml.load"
                and len(node.args) > 1
                and "Strict" not in ast.unparse(node)
                and "Safe" not in ast.unparse(node)
            ):
                yield f"{name}:{node.lineno}: yaml.load without a safe loader builds any object"


def programs() -> list[Path]:
    return list(modules(*PACKAGES, "benchmarks").values())


def test_our_packages_do_not_pickle() -> None:
    assert len(programs()) > 40
    assert [line for path in programs() for line in offences(path.read_text(encoding="utf-8"), path.name)] == []


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "def f():\n    from joblib import load",
        "import cloudpickle as c",
        "from sklearn.externals.joblib import load",
        "import torch\ntorch.load('x')",
        "model = PPO.load('x')",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=given)",
        "frame.to_pickle('x')",
        "import shelve, json",
        "yaml.load(text, yaml.Loader)",
    ],
)
def test_each_way_to_pickle_is_seen(source: str) -> None:
    assert list(offences(source, "x.py"))


@pytest.mark.parametrize("source", ["import json", "np.load('x', allow_pickle=False)", "yaml.load(t, yaml.SafeLoader)"])
def test_what_is_safe_is_let_be(source: str) -> None:
    assert list(offences(source, "x.py")) == []


def test_mlflow_is_told_not_to_unpickle() -> None:
    from pipeline.tracking.store import DEFAULTS

    assert DEFAULTS["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
