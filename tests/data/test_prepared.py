import pandas as pd
import pytest

from recsys_lib.data import prepared, prepared_households, prepared_lines


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("data")


def test_lines_are_built_once_and_carry_their_promotion_flags(folder, monkeypatch):
    built = prepared_lines(folder)
    assert len(built) == 1_439_976
    assert set(built["on_display"].unique()) == {0.0, 1.0}
    monkeypatch.setattr(prepared, "_build_lines", None)  # a second build would fail
    pd.testing.assert_frame_equal(prepared_lines(folder), built)


def test_households_depend_on_their_date(folder):
    december, july = prepared_households("2017-12-01", folder), prepared_households("2017-07-01", folder)
    assert (july["lines"] <= december["lines"].reindex(july.index)).all()
    assert july["lines"].sum() < december["lines"].sum()
    pd.testing.assert_frame_equal(prepared_households("2017-07-01", folder), july)


def test_a_new_version_of_the_code_rebuilds_the_table(folder, monkeypatch):
    monkeypatch.setattr(prepared, "_VERSION", -1)
    monkeypatch.setattr(prepared, "_build_lines", lambda: pd.DataFrame({"made": ["again"]}))
    assert prepared_lines(folder)["made"].tolist() == ["again"]
