"""The shop's abbreviations, read off its own product table, and the plain words that they stand for.

The table cuts names off after 30 characters, so that many words here are the beginnings of longer ones.
Only what is abbreviated, cut off or misspelt is replaced: synonyms are for the language model to know.
"""

import csv
from functools import cache

from recsys_lib.files import project_root

# Patterns over a whole name, applied in this order before its words are looked up.
PATTERNS = (
    (r"\b(MISC|PKG|HYGN)\.(?=[A-Z])", r"\1 "),
    (r"MASHES\(OV$", "MASHES"),
    (r"\bNUT SUPP\b", "NUTRITIONAL SUPPLEMENT"),
    (r"(?<=\d)PC\b", " PIECE"),
    (r"(?<=\d)ML\b", " MILLILITER"),
    (r"(?<=\d)LT\b", " LITER"),
    (r"\(?\b50% AND U\w*[^)]*\)?|\(UNDER 50%?[^)]*\)?|\(50?%?$|\(UN$", ", HALF JUICE OR LESS"),
    (r"\(OVER 50?%?[^)]*\)?|\(OVE?$|\(O$", ", MORE THAN HALF JUICE"),
    (r"\(?\(42 U[^)]*\)?|\(OV$|<=\(?(42P)?", ""),  # tax classes of spirits
    (r"\(NOT LIF$|\(N$|\(INCLUDING$|\(EX?C?P?T?$|\(EX:4PK18PK$|\(ANY BTL NOT$|\(NO JU$", ""),
    (r"\bSOLID/STK\b", "SOLID/STICK"),
    (r"\bPROD(?= SUPPLIES|-WHS)", "PRODUCE"),
    (r"\bCNTRL/STORE SUP\b", "CENTRAL/STORE SUPPLIES"),
    (r"\bGM MERCH EXP\b", "GENERAL MERCHANDISE EXPENSE"),
    (r"\bSURFACE PREP\b", "SURFACE PREPARATION"),
    (r"\bCAN CAR$", "CAN CARB"),
    (r"(?<=\d)PK\b", " PACK"),
    (r"(?<=\d)IN\b", " INCH"),
    (r"(?<=\d)LBS\b", " POUNDS"),
    (r"\bSALTICE C$", "SALT/ICE CREAM SALT"),
    (r"PLSTC CTLRYTBLCLTHSTTHPKSST", "PLASTIC CUTLERY/TABLECLOTHS/TOOTHPICKS"),
    (r"SAUCESSALSAPICANTEE", "SAUCES/SALSA/PICANTE"),
    (r"SPICESSALSAPICKLING", "SPICES/SALSA/PICKLING"),
    (r"JARSLIDSUTENSILSMIS", "JARS/LIDS/UTENSILS"),
    (r"BLUBLKRASP", "BLUEBERRIES/BLACKBERRIES/RASPBERRIES"),
    (r"GRAPESFIGSE", "GRAPES/FIGS"),
    (r"SARANETC\.?", "SARAN"),
    (r"CRABETC", "CRAB"),
    (r"BEERALE ?MALT", "BEER/ALE/MALT"),
    (r"BEERALE", "BEER/ALE"),
    (r"BOURBONWHISKEYSOUR", "BOURBON/WHISKEY/SOUR"),
    (r"BEAUTYASSESSPILL", "BEAUTY ACCESSORIES/PILL"),
    (r"\bSEAFOOD-(FRE|FRZ|MISC)-", r"SEAFOOD, \1, "),
    (r"\bMEAT-MISC-", "MEAT, "),
    (r"BAGS-(CHOC|NON)", r"BAGS, \1"),
    (r"\bN/A DEOD\b", "NON-AEROSOL DEOD"),
    (r"\bN/(?=[A-Z])", "NON-"),
    (r"\bW/O\b", "WITHOUT"),
    (r"\bW/", "WITH "),
    (r"\bR/C\b", "REMOTE CONTROL"),
    (r"\bNON DAIRY\b", "NON-DAIRY"),
    (r"\bSW GDS\b", "SWEET GOODS"),
    (r"\bDL SPEC\b", "DELI SPECIALTIES"),
    (r"\bPREP FD\b|\bPREP FOODS\b", "PREPARED FOOD"),
    (r"\bQSR FD\b", "QUICK SERVICE FOOD"),
    (r"\bSV BEV\b", "BEVERAGE"),
    (r"\bMENS SS SPT\b", "MENS SHORT SLEEVE SPORT"),
    (r"\bFRZN SS\b|^SS\b", "FROZEN SINGLE SERVE"),
    (r"/DNRS/N$", "/DINNERS/NUTRITIONAL"),
    (r"/DNRS/T$", "/DINNERS/TRADITIONAL"),
    (r"\bPNT BTR\b|\bPNUT BTR\b", "PEANUT BUTTER"),
    (r"\bBAKED BREAD/BUNS/ROLLS\b", "BREAD/BUNS/ROLLS"),
    (r"\bSALAD DRESSING MAY$", "SALAD DRESSING, MAYONNAISE"),
    (r"\bHORSERADISH SA$", "HORSERADISH SAUCE"),
    (r"\bJUICE - O$", "JUICE, ORANGE"),
    (r"\bMULTIGRAIN BR$", "MULTIGRAIN BREAD"),
    (r"\bBAG & B$", "BAG AND BOX"),
    (r"\bJ-?HOOKS?\b", "SMALL GOODS"),
    (r"\bFIGHTING VARIETAL\b", "VARIETAL"),
    (r"\bDRUG GM\b", "DRUGSTORE"),
    (r"\bHBC\b", "HEALTH AND BEAUTY CARE"),
    (r"\bCONVENIENT BRKFST/WHLSM SNACKS\b", "CONVENIENT BREAKFAST/WHOLESOME SNACKS"),
    (r"\bFD WRAPS/BAGS/TRSH BG\b", "FOOD WRAPS/FOOD BAGS/TRASH BAGS"),
    (r"\bDRY BN/VEG\b", "DRY BEANS/VEGETABLES"),
    (r"\bDINNER MXS:DRY\b", "DRY DINNER MIXES"),
    (r"\bHAND/BODY/FACIAL\b", "HAND/BODY/FACE"),
    (r"\b(CARBONATED|WATER - CARBONATED)/FLVRD DRINK\b", r"\1 OR FLAVORED DRINK"),
    (r"-MAGAZINE\b", " MAGAZINE"),
    (r"(?<=[/ (])[A-RT-Z]$|(?<=OR )S$", ""),  # one letter of a word that was cut off
)

# The units of sizes, without the S of a plural: `spell_size` takes that off before it looks here.
UNITS = {
    "OZ": "ounce", "LB": "pound", "FL OZ": "fluid ounce", "GM": "gram", "G": "gram",
    "ML": "milliliter", "L": "liter", "LTR": "liter", "PT": "pint", "QT": "quart",
    "GA": "gallon", "GAL": "gallon",
    "IN": "inch", "FT": "foot", "SQ FT": "square foot",
    "CT": "count", "PK": "pack", "PC": "piece", "DZ": "dozen", "DOZ": "dozen", "STEM": "stem", "ROLL": "roll",
    "LOAD": "load", "LD": "load", "KIT": "kit", "CUP": "cup",
}  # fmt: skip


@cache
def words() -> dict[str, str]:
    """Return the plain words of each of the shop's; an empty text leaves the word out.

    One word each: several meanings of a word are told apart in PATTERNS.
    """
    with (project_root() / "data" / "abbreviations.csv").open(encoding="utf-8", newline="") as file:
        return {row["shop"]: row["plain"] for row in csv.DictReader(file)}
