"""The shop's abbreviations, read off its own product table, and the plain words that they stand for.

The table cuts names off after 30 characters, so that many words here are the beginnings of longer ones.
Only what is abbreviated, cut off or misspelt is replaced: synonyms are for the language model to know.
"""

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

# One word each. Several meanings of a word are told apart in PATTERNS; an empty text leaves the word out.
_WORDS = """
ACC accessories | ACCES accessories | ACCESS accessories | ACCESSIORES accessories | ACCS accessories
ACCSS accessories | ACTIVATI activation | ADDITI additives | ALCOHLIC alcoholic | ANK ankle
APPL appliances | ASCEPTIC aseptic | AUTO automatic | BA bags | BBQ barbecue | BEDDINGS bedding
BEV beverage | BEVERAG beverage | BIKES bicycles | BK bakery | BKD baked | BKNGWARES bakeware | BLY belly
BNDGES bandages | BRD breaded | BRDS boards | BRSKT brisket | BRST breast | BSKTS baskets | BTH bath
BTL bottle | BTLS bottles | BTR batter | BX box | CAL callus | CALC calculators | CARB carbonated
CARPT carpet | CATFD cat food | CB consumer bunch | CHECKLANE checkout | CHEEZ cheese
CHICK chicken | CHIX chicken | CHOCOCLATE chocolate | CHOCOL chocolate | CHOCOLA chocolate | CHP chop
CHS cheese | CIG cigarette | CKE cake | CKTLS cocktails | CKYS cookies | CLEANE cleaners | CLEANG cleaning
CLOT cloths | CLU club | CND canned | CNDLES candles | CNDY candy | CNTRL control | COFF coffee
COMBIN combination | CONC concentrate | CONT contributions | CONTAINR containers
COOKI cookies | COOKNG cooking | COUER coeur | CR creams | CRACKE crackers | CRAN cranberry
CRBNTD carbonated | CRKR crackers | CRMD crushed | CRSTDAS custards | CRYSTL crystal | CV covers
DAN danish | DECAF decaffeinated | DECAFFINATED decaffeinated | DECORS decorations | DEOD deodorant
DEPT department | DESE desensitizing | DETE detergent | DIAPR diapers | DIPILATORIES depilatories
DISPOSIBLE disposable | DNR dinner | DNRS dinners | DOGFD dog food | DPS dips | DRG drug | DRNK drink
DRNKING drinking | DRNKNG drinking | DRNKS drinks | DRNRS drainers | DRP drop | DRSNG dressing | DSH dish
DXM | ECONOM economy | EL electric | ELECT electrical | ELSTC elastic | ENG english
ET | EW | EX | EXA | EXCE | EXCH exchange | FAF | FASH fashion | FD food
FDS foods | FEM feminine | FLAV flavored | FLNK flank | FLO flour | FLOURSCENT fluorescent | FLV flavored
FLVR flavored | FLVRD flavored | FM | FRD fried | FRE fresh | FRISK friskies | FRK drink | FRS fresh
FRTHR further | FRZ frozen | FRZN frozen | FS | FT foot | FTD | GERBS gerbera daisies
GLASSWARES glassware | GM general merchandise | GNG ginger ale | GNGR ginger | GOL goldfish | GR
GRA gravy | GRND ground | HANDKE handkerchiefs | HD | HH household | HNGRS hangers | HOLDIAY holiday
HORSER horseradish | HT | HYGN hygiene | INCL | INCLUDI | INDR indoor | INF infant | INGRED ingredients
IO indoor and outdoor | IQF individually frozen
IWS individually wrapped slices | JCE juice | JUI juice | JUIC juice | KLR | LAY layer | LBS pounds
LINAMENTS liniments | LIQ liquid | LIQS liquids | LNCHMT lunch meat | LNDRY laundry | LOAVE loaf
LOZNG lozenge | LRG large | LSS less | LTR lighter | LUNCHMEAT lunch meat | MAC macaroni | MACH machine
MARIN marinade | MARINA marinade | MARINAD marinade | MASSGRS massagers | MEDICATE medicated
MEMORABLILIA memorabilia | MERCH merchandise | MESSA massage | MFG manufacturer | MINWTR mineral water
MISC miscellaneous | MISSY womens | MIXS mixes | MLK milk | MLT multi | MNERAL mineral | MNR mineral
MNRL mineral | MONODOSE single dose | MT meat | MTL metal | MULT multi | MUST mustard | MUSTAR mustard
MW microwave | MX mix | NAT natural | NATRL natural | NDAIRY non-dairy | NF | NT | NTRTNL nutritional
NZ new zealand | OCCAS occasion | OJ orange juice | ORG organizer | ORGNZRS organizers
OTC over the counter | OTH other | OTHE other | OTYHER other | PAC pack
PCKGD packaged | PEPPERIDG pepperidge farm | PERRENIALS perennials | PERSNL personal
PHYSICANS physicians | PI pita | PICAN picante | PICKLD pickled | PICKLS pickles | PICTUR pictures
PK pack | PKG package | PKGD packaged | PKLD pickled | PLANTR planter | PLSTC plastic
PLT plate | PNCH punch | PORT portion | PORTABELLA portobello | PORTON portions | POTCOVERS pot covers
PPK prepacked | PREM premium | PREP prepared | PREPACK prepacked | PREPORTND portioned | PREPRD prepared
PRESC prescription | PRESHCOOL preschool | PRESLC sliced | PRESLCD sliced | PROD products | PRODU products
PRODUC products | PROMO promotional | PROTIEN protein | PRPCK prepacked
PRSLC sliced | PSE | PTTY patty | PUR purina | PWDR powder | PWDRS powders | QSR quick service
RBR rubber | RECHARABLE rechargeable | REFIGERATED refrigerated | REFRGRATD refrigerated
REFRI refrigerated | REFRIG refrigerated | REG regular | REPELLANTS repellents | RETL retail | RIC rice
RTD ready to drink | RTS ready to serve | RTW clothes | RW | RX prescription
SAL salad | SALD salad | SANDWIC sandwiches | SAUS sausage | SCE sauce | SEAFD seafood
SEASO seasoning | SECT sections | SFT soft | SGL single | SH sheet | SHERBTS sherbets | SHLDR shoulder
SHLFSH shellfish | SHNK shank | SHOPPE shop | SLC slice | SLD salad | SLG | SMI semi | SNDWCH sandwich
SNGL single | SNKS snacks | SNSL seasonal | SOD soda | SOLARGENICS | SOULABLE soluble | SPEC specialty
SPECILATY specialty | SPECLTY specialty | SPF sun protection | SPHE | SPLY supplies | SPRD spread
SRV serve | STAMPABL | STK steak | STORER storage | STR storage | STRP strip | STW stew | SUBS substitutes
SUG sugar | SUP super | SUPPLEMEN supplement | SUPPPLIES supplies | SUPRT support | SV serve | SW sweet
SWE sweetener | SWEE sweetener | SWEETEN sweetener | SWEETNERS sweeteners | SWIN swim | SWT sweet
SYRNGS syringes | SYRP syrup | THN than | TISS tissue | TN tennessee
TODD toddler | TORT tortilla | TRAD traditional | TRADITIONA traditional | TRAI trail mix
TRANS transmission | UNDERGARMEN undergarments | UNSWE unsweetened | VAC vacuum | VAL value
VEG vegetable | VEND vending | WAT water | WATE water | WH whole | WHL whole | WHS warehouse
WORCHESTER worcestershire | WRA wraps | WT weight | WTR water | XMAS christmas | XPCTRNT expectorant
YNG young
"""

WORDS = {
    entry.split()[0]: " ".join(entry.split()[1:])
    for entry in _WORDS.replace("\n", "|").split("|")
    if entry.strip()
}

# The units of sizes, without the S of a plural: `spell_size` takes that off before it looks here.
UNITS = {
    "OZ": "ounce", "LB": "pound", "FL OZ": "fluid ounce", "GM": "gram", "G": "gram",
    "ML": "milliliter", "L": "liter", "LTR": "liter", "PT": "pint", "QT": "quart",
    "GA": "gallon", "GAL": "gallon",
    "IN": "inch", "FT": "foot", "SQ FT": "square foot",
    "CT": "count", "PK": "pack", "PC": "piece", "DZ": "dozen", "DOZ": "dozen", "STEM": "stem", "ROLL": "roll",
    "LOAD": "load", "LD": "load", "KIT": "kit", "CUP": "cup",
}  # fmt: skip
