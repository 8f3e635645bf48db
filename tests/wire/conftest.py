"""The octet scan in each of its versions, so that what holds for one is proven for the other."""

import importlib.util
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from outrider.wire.smtp import content, scan
from tools.build_scan import build


def load_compiled(name: str) -> Any | None:
    """A function in C, built for these tests from its source; None where there is no compiler."""
    folder = Path(tempfile.mkdtemp(prefix="outrider-scan-"))
    try:
        built = build(folder)
        if built is None:
            return None
        spec = importlib.util.spec_from_file_location("_scan", built)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        return getattr(module, name)
    finally:
        shutil.rmtree(folder)


VERSIONS: dict[str, scan.Scan | None] = {"pure": scan.scan_pure, "compiled": load_compiled("scan")}


@pytest.fixture(scope="module", params=VERSIONS)
def each_scan(request: pytest.FixtureRequest) -> Iterator[scan.Scan]:
    """Runs a module's tests with each version in charge of reading content."""
    function = VERSIONS[request.param]
    if function is None:
        pytest.skip("needs a C compiler and the headers of Python")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(content, "scan", function)
        yield function
