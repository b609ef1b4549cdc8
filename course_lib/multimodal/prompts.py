"""Texts for the classes of the emoji.

The words of the labels themselves ("food", "animal") are in hardly any caption, so the
classes are described by other words. They were chosen from the captions of the training
emoji.
"""

from course_lib.data.emoji import STYLES

# Seven words for each category. The first one alone is the shortest prompt.
CATEGORY_WORDS = {
    "Activities": "ball celebration magic cards medal festival football",
    "Animals & Nature": "pet insect dog bird fish flower tree",
    "Flags": "flag nation banner island islands republic regional",
    "Food & Drink": "dessert beverage breakfast snack meat bread bowl",
    "Objects": "stationery communication fashion documents technology shopping film",
    "People & Body": "person man woman human child family worker",
    "Smileys & Emotion": "face smile mouth eyes sad happy heart",
    "Symbols": "symbol square button circle arrow shape numbers",
    "Travel & Places": "vehicle clock transportation planet night cloud city",
}

# A text for each subcategory that has at least four training and two test emoji.
SUBCATEGORY_TEXTS = {
    "alphanum": "squared button letters",
    "animal-mammal": "pet dog pig mouse",
    "animal-marine": "ocean sea fish",
    "animal-reptile": "turtle dragon dinosaur",
    "arrow": "arrow direction",
    "arts & crafts": "museum painting picture",
    "av-symbol": "triangle button forward",
    "body-parts": "organ brain leg",
    "book-paper": "book page newspaper",
    "cat-face": "cat face",
    "clothing": "fashion dress shirt shoes",
    "computer": "computer desktop screen",
    "country-flag": "flag nation banner",
    "dishware": "cutlery knife plate",
    "drink": "beverage glass cup",
    "emotion": "comic balloon anger",
    "event": "celebration festival fireworks",
    "face-affection": "face kissing",
    "face-concerned": "face sad upset",
    "face-costume": "monster alien ghost clown",
    "face-neutral-skeptical": "face straight meh",
    "face-smiling": "face smile laugh",
    "face-unwell": "face sick ill",
    "flag": "flags pirate waving",
    "food-fruit": "apple melon banana berry",
    "food-prepared": "bread meat breakfast",
    "food-sweet": "dessert candy pastry",
    "food-vegetable": "carrot cucumber pepper cabbage",
    "game": "cards poker suits",
    "geometric": "large shape circle",
    "hand-fingers-open": "open hand palm",
    "hand-single-finger": "index finger pointing hand",
    "heart": "heart love",
    "household": "clean bathroom window",
    "money": "money dollar bank",
    "music": "singing microphone",
    "musical-instrument": "violin flute saxophone",
    "office": "stationery paperclip pushpin",
    "other-symbol": "check mark tick",
    "person-activity": "person wheelchair exercise",
    "person-fantasy": "magical fairy elf superpower",
    "person-gesture": "person gesturing shrug",
    "person-role": "worker human engineer",
    "person-sport": "person bicycle surfing golfing",
    "person-symbol": "family kid hugging",
    "phone": "telephone call receiver",
    "place-building": "building house tower",
    "place-other": "city sunset sunrise",
    "plant-flower": "flower blossom rose",
    "plant-other": "tree leaf grass",
    "punctuation": "exclamation question",
    "religion": "jewish wheel cross",
    "sky & weather": "cloud rain moon planet",
    "sport": "ball hockey football",
    "tool": "hammer fix chain",
    "transport-air": "airplane flight plane",
    "transport-ground": "vehicle car train",
    "transport-sign": "restroom passport border",
    "transport-water": "ship boat",
    "warning": "forbidden prohibited no",
    "writing": "write drawing pencil",
    "zodiac": "astrology purple zodiac",
}


def one_word() -> list[list[str]]:
    """Returns one text of one word for each category."""
    return [[words.split()[0]] for words in CATEGORY_WORDS.values()]


def seven_words() -> list[list[str]]:
    """Returns one text of seven words for each category."""
    return [[words] for words in CATEGORY_WORDS.values()]


def ensemble() -> list[list[str]]:
    """Returns 28 texts for each category: each of its seven words alone, and after the
    name of each style."""
    return [
        [f"{style} {word}" for word in words.split() for style in ("", *STYLES)]
        for words in CATEGORY_WORDS.values()
    ]


def label_names() -> list[list[str]]:
    """Returns the name of each category as its text."""
    return [[name] for name in CATEGORY_WORDS]
