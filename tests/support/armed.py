"""Files that run code when they are unpickled: what the hostile-file tests are armed with."""

from __future__ import annotations

import base64
import io
import json
import os
import pickle
import zipfile
from pathlib import Path


class Payload:
    """Makes a folder when it is unpickled."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self._folder),)


def pickled(folder: Path) -> bytes:
    return pickle.dumps(Payload(folder))


def torch_file(folder: Path) -> bytes:
    """As torch.save lays it out."""
    return _zip({"archive/data.pkl": pickled(folder), "archive/version": b"3\n", "archive/byteorder": b"little"})


def sb3_zip(folder: Path) -> bytes:
    """As Stable-Baselines3's `save` lays it out, with code where the policy's class stands."""
    code = base64.b64encode(pickled(folder)).decode()
    data = json.dumps({"policy_class": {":type:": "<class 'abc.ABCMeta'>", ":serialized:": code}}).encode()
    return _zip({"data": data, "_stable_baselines3_version": b"2.9.0"})


def numpy_archive(folder: Path) -> bytes:
    """As numpy.savez lays it out, with an array of objects."""
    header = b"{'descr': '|O', 'fortran_order': False, 'shape': (1,), }"
    header += b" " * (118 - 1 - len(header)) + b"\n"
    array = b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header + pickled(folder)
    return _zip({"weights.npy": array})


def _zip(members: dict[str, bytes]) -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return content.getvalue()
