"""Say whether a text is short enough."""

import json
import os
import sys

most = json.loads(os.environ["AGENT_PARAMETERS"])["words"]
text = json.load(sys.stdin)["dependencies"]["edit"]["response"]
print(json.dumps({"text": text, "short_enough": len(text.split()) <= most}))
