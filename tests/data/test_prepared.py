import pandas as pd
import pytest

from recsys_lib.data import prepared, prepared_households, prepared_lines


@pytest.fixture(scope="module", autouse=True)
def folder(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_DATA", str(tmp_path_factory.mktemp("data")))
        yield


def test_lines_are_built_once_and_carry_their_promotion_flags(monkeypatch):
    built = prepared_lines()
    assert len(built) == 1_439_976
    assert set(built["on_display"].unique()) == {0.0, 1.0}
    monkeypatch.setattr(prepared, "_build_lines", None)  # a second build would fail
    pd.testing.assert_frame_equal(prepared_lines(), built)


def test_households_depend_on_their_date():
    december, july = prepared_households("2017-12-01"), prepared_households("2017-07-01")
    assert (july["lines"] <= december["lines"].reindex(july.index)).all()
    assert july["lines"].sum() < december["lines"].sum()
    pd.testing.assert_frame_equal(prepared_households("2017-07-01"), july)


def test_a_new_version_of_the_code_rebuilds_the_table(monkeypatch):
    monkeypatch.setattr(prepared, "_VERSION", -1)
    monkeypatch.setattr(prepared, "_build_lines", lambda: pd.DataFrame({"made": ["again"]}))
    assert prepared_lines()["made"].tolist() == ["again"]
