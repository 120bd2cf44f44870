"""No pickle is written or read: a file that comes from elsewhere must not be able to run code."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.source import PACKAGES, imports, modules

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

PICKLING_FLAVOURS = (
    "catboost",
    "dspy",
    "keras",
    "langchain",
    "lightgbm",
    "llama_index",
    "pmdarima",
    "prophet",
    "pytorch",
    "sentence_transformers",
    "sklearn",
    "spacy",
    "spark",
    "statsmodels",
    "tensorflow",
    "transformers",
    "xgboost",
)
"""Of MLflow: what their `load_model` reads may be a pickle."""

UNSAFE_IMPORTS = {
    "mlflow.pyfunc.load_model": "runs what the model's author wrote",
    "numpy.lib.format": "reads pickles where it is asked to",
    "pandas.read_pickle": "reads pickles",
    "stable_baselines3.common.save_util": "reads pickles",
    "torch.hub": "runs what was downloaded",
    "torch.load": "reads pickles; use safetensors",
    "torch.package": "reads pickles",
    "torch.save": "writes pickles; use safetensors",
} | {f"mlflow.{flavour}": "reads pickles" for flavour in PICKLING_FLAVOURS}

UNSAFE_CALLS = {
    "torch.load": "reads pickles; use safetensors",
    "torch.save": "writes pickles; use safetensors",
    "np.save": "writes pickles when the array holds objects",
    "pd.read_pickle": "reads pickles",
    "pandas.read_pickle": "reads pickles",
    "torch.hub.load": "runs what was downloaded",
    "torch.jit.load": "reads pickles",
    "torch.package.PackageImporter": "reads pickles",
    "yaml.unsafe_load": "builds any object",
    "yaml.full_load": "builds many objects",
}

UNSAFE_METHODS = {
    "load_from_pkl",
    "load_from_zip_file",
    "load_model",
    "load_replay_buffer",
    "model_save",
    "read_pickle",
    "save_replay_buffer",
    "save_to_pkl",
    "set_parameters",
    "to_pickle",
}

READS_CLOUDPICKLE = re.compile(r"(.*\.)?\w*(PPO|A2C|DQN|SAC|TD3|DDPG|Algorithm|Policy|VecNormalize)\.load")


def offences(source: str, name: str) -> Iterator[str]:
    tree = ast.parse(source)
    for imported, line in imports(tree):
        parts = imported.split(".")
        if any(".".join(parts[:n]) in PICKLING for n in range(1, len(parts) + 1)):
            yield f"{name}:{line}: imports {imported}"
        for unsafe, why in UNSAFE_IMPORTS.items():
            if imported == unsafe or imported.startswith(f"{unsafe}."):
                yield f"{name}:{line}: {unsafe} {why}"
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            called = ast.unparse(node.func)
            keywords = {k.arg: ast.unparse(k.value) for k in node.keywords}
            if called in UNSAFE_CALLS:
                yield f"{name}:{node.lineno}: {called} {UNSAFE_CALLS[called]}"
            if called.rpartition(".")[2] in UNSAFE_METHODS:
                yield f"{name}:{node.lineno}: {called} pickles"
            if READS_CLOUDPICKLE.fullmatch(called.rpartition(" ")[2]):
                yield f"{name}:{node.lineno}: {called} reads cloudpickle; use rl.agent.load_agent"
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
        "from torch import load",
        "from torch import load as read",
        "torch.jit.load('x')",
        "from torch.hub import load",
        "model = PPO.load('x')",
        "ResumablePPO.load('x')",
        "stable_baselines3.PPO.load('x')",
        "CandidatePolicy.load('x')",
        "VecNormalize.load('x', env)",
        "model.set_parameters('x')",
        "from stable_baselines3.common.save_util import load_from_zip_file",
        "save_util.load_from_zip_file('x')",
        "import joblib",
        "mlflow.pyfunc.load_model('models:/x')",
        "mlflow.sklearn.load_model('models:/x')",
        "from mlflow.pyfunc import load_model",
        "import mlflow.sklearn",
        "from mlflow import pytorch",
        "np.load('x', allow_pickle=True)",
        "np.load('x', allow_pickle=given)",
        "frame.to_pickle('x')",
        "import shelve, json",
        "yaml.load(text, yaml.Loader)",
    ],
)
def test_each_way_to_pickle_is_seen(source: str) -> None:
    assert list(offences(source, "x.py"))


@pytest.mark.parametrize(
    "source",
    [
        "import json",
        "np.load('x', allow_pickle=False)",
        "yaml.load(t, yaml.SafeLoader)",
        "from safetensors.torch import load\nload(b'')",
        "json.load(f)",
        "from mlflow.pyfunc.model import PythonModel",
    ],
)
def test_what_is_safe_is_let_be(source: str) -> None:
    assert list(offences(source, "x.py")) == []


def test_mlflow_is_told_not_to_unpickle() -> None:
    from pipeline.tracking.mlflow_store import DEFAULTS

    assert DEFAULTS["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
