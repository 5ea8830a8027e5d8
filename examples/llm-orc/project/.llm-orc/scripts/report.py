"""Put together what the others have made: one line for each of them."""

import json
import sys


def said(result):
    """Give the text of a result; of an ensemble its deliverable, of a loop the text of its last round."""
    response = result["response"]
    if result["status"] not in ("success", "partial"):
        return f"({result['status']})"
    if isinstance(response, str) and response.startswith("{"):
        inner = json.loads(response)
        response = inner["deliverable"] if "deliverable" in inner else inner["output"]["text"]
    return response if isinstance(response, str) else json.dumps(response, ensure_ascii=False)


for name, result in json.load(sys.stdin)["dependencies"].items():
    print(f"{name}: {' '.join(said(result).split())}")
