"""The shop's names in plain words."""

import re

import pandas as pd
import pytest

from recsys_lib.data import load_table
from recsys_lib.data.texts import FIELDS, plain_words, product_texts, spell_out, spell_size


@pytest.fixture(scope="module")
def products() -> pd.DataFrame:
    return load_table("products", ["product_id", *FIELDS])


@pytest.mark.parametrize(
    ("name", "plain"),
    [
        ("SNKS/CKYS/CRKR/CNDY", "snacks, cookies, crackers, candy"),
        ("PNT BTR/JELLY/JAMS", "peanut butter, jelly, jams"),
        ("CONVENIENT BRKFST/WHLSM SNACKS", "convenient breakfast, wholesome snacks"),
        ("FRZN SS PREMIUM ENTREES/DNRS/N", "frozen single serve premium entrees, dinners, nutritional"),
        ("SFT DRNK 2 LITER BTL CARB INCL", "soft drink 2 liter bottle carbonated"),
        ("SOFT DRINKS 12/18&15PK CAN CAR", "soft drinks 12, 18 and 15 pack can carbonated"),
        ("SEMI-SOLID SALAD DRESSING MAY", "semi-solid salad dressing, mayonnaise"),
        ("CANDY BARS (SINGLES)(INCLUDING", "candy bars, singles"),
        ("CRANBERRY JUICE (50% AND UNDER", "cranberry juice, half juice or less"),
        ("GRAPE JUICE (OVER 50% JUICE)", "grape juice, more than half juice"),
        ("N/A DEOD SPRAY/GEL DEOD", "non-aerosol deodorant spray, gel deodorant"),
        ("SEAFOOD-FRZ-IQF RAW SHRIMP RW", "seafood, frozen, individually frozen raw shrimp"),
        ("PLSTC CTLRYTBLCLTHSTTHPKSST", "plastic cutlery, tablecloths, toothpicks"),
        ("MEXICAN SAUCESSALSAPICANTEE", "mexican sauces, salsa, picante"),
        ("CHICKEN BREAST BONELESS", "chicken breast boneless"),
        ("NON-DAIRY BEVERAGES", "non-dairy beverages"),
        ("AIR CARE - AEROSOLS", "air care, aerosols"),
        ("CATSUP", "catsup"),  # old spelling, not an abbreviation: left to the language model
    ],
)
def test_known_names_are_spelt_out(name, plain) -> None:
    assert spell_out(name) == plain


def test_no_abbreviation_is_left_anywhere(products) -> None:
    names = pd.concat([products[field] for field in FIELDS[:3]]).dropna().unique()
    assert len(names) > 2000
    plain = {word for text in plain_words().values() for word in re.findall("[a-z]+", text)}
    short = {word.lower() for word in plain_words()} - plain
    for name in names:
        text = spell_out(name)
        assert text == text.strip().lower()
        assert text, name
        assert not short & set(re.findall("[a-z]+", text)), (name, text)


def test_every_abbreviation_of_the_dictionary_occurs(products) -> None:
    names = " ".join(pd.concat([products[field] for field in FIELDS[:3]]).dropna().unique())
    assert not set(plain_words()) - set(re.findall(r"[A-Z0-9]+", names))


@pytest.mark.parametrize(
    ("size", "plain"),
    [
        ("16 OZ", "16 ounces"), ("1 LB", "1 pound"), (".5 OZ", "0.5 ounces"), ("1/2 GAL", "1/2 gallons"),
        ("12 PK/12 OZ", "12 packs of 12 ounces"), ("750 ML.", "750 milliliters"), ("20 CT", "20 count"),
        ("18 IN", "18 inches"), ("523217 CTN", "carton"), ("LARGE", "large"), ("9 5/8 OZ", "9 5/8 ounces"),
    ],
)  # fmt: skip
def test_sizes(size, plain) -> None:
    assert spell_size(size) == plain


def test_product_texts(products) -> None:
    frame = pd.DataFrame(
        {
            "product_type": ["POTATO CHIPS", None, "YOGURT NOT MULTI-PACKS"],
            "product_category": ["BAG SNACKS", None, "YOGURT"],
            "department": ["GROCERY", None, "GROCERY"],
            "brand": ["Private", None, "National"],
            "package_size": ["11.5 OZ", None, None],
        }
    )
    assert product_texts(frame) == [
        "potato chips; bag snacks; grocery; store brand; 11.5 ounces",
        "unknown product",
        "yogurt not multi-packs; yogurt; grocery; national brand",
    ]
    assert product_texts(frame, ["product_category"]) == ["bag snacks", "unknown product", "yogurt"]
    texts = product_texts(products)
    assert len(texts) == len(products) == 92_331
    assert all(texts)
    assert not re.search(r"\b(nan|none)\b", " ".join(texts[:5000]))
    with pytest.raises(ValueError, match="fields must be some of"):
        product_texts(frame, ["colour"])
    with pytest.raises(ValueError, match="no column 'brand'"):
        product_texts(frame.drop(columns="brand"))
