"""Take the letters of a day apart, and say which one is pressing."""

import json
import sys

DESKS = {"billing": ("charged", "money", "invoice"), "technical": ("update", "forgets", "crash")}

given = json.load(sys.stdin)
separator = given["parameters"].get("separator", "---")
letters = [letter.strip() for letter in given["input"].split(separator) if letter.strip()]
words = given["input"].lower()


def desk(letter):
    """Give the desk for a letter; None for one that needs none."""
    return next((name for name, clues in DESKS.items() if any(clue in letter.lower() for clue in clues)), None)


pressing = next((letter for letter in letters if desk(letter)), letters[0] if letters else "")
print(
    json.dumps(
        {
            "letters": letters,
            "pressing": pressing,
            "desk": f"desks/{desk(pressing) or 'technical'}",
            "praise": "thank" in words,
            "lawyer": "lawyer" in words,
        }
    )
)
