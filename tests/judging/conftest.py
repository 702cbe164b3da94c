"""Lists that tests keep lie in a folder of their own."""

import pytest


@pytest.fixture(autouse=True)
def own_lists(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_LISTS", str(tmp_path))
