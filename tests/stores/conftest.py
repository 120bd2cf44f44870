"""An S3 server for whichever test asks for one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.store_servers import HAS_S3, S3, s3_server


@pytest.fixture(scope="module")
def s3(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    if not HAS_S3:
        pytest.skip("no S3: pip install boto3 dvc-s3 moto")
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server
