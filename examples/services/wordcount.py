#!/usr/bin/env python3
"""Counts words: a service of a mutirao node.

The node writes one JSON object a line to our standard input, {"ID", "METHOD", "PARAMS", ...}, and wants one line
back for each: {"ID", "RESULT"} or {"ID", "ERROR"}. When the input ends, so do we.

    count  {"text": ".."}            -> {"lines": n, "words": n, "characters": n}
    top    {"text": "..", "n": 10}   -> [["word", times], ..], the most frequent first
    ping                             -> "pong"
"""

import collections
import json
import re
import sys


class Refused(Exception):
    """The request is wrong: the same one would be wrong again."""


def text_of(params):
    text = params.get("text") if isinstance(params, dict) else None
    if not isinstance(text, str):
        raise Refused("PARAMS `text` is missing or no text; expected a text")
    return text


def count(params):
    text = text_of(params)
    return {"lines": len(text.splitlines()), "words": len(text.split()), "characters": len(text)}


def top(params):
    text, most = text_of(params), params.get("n", 10)
    if not isinstance(most, int) or not 1 <= most <= 1000:
        raise Refused("PARAMS `n` is %r; expected 1 to 1000" % (most,))
    words = collections.Counter(re.findall(r"\w+", text.lower()))
    # Ties in the order of the alphabet, so that the same text always has the same answer.
    return sorted(words.items(), key=lambda pair: (-pair[1], pair[0]))[:most]


METHODS = {"count": count, "top": top, "ping": lambda params: "pong"}


def answer(request):
    try:
        return {"RESULT": METHODS[request["METHOD"]](request.get("PARAMS"))}
    except Refused as refused:
        return {"ERROR": str(refused), "RETRY": False}


for line in sys.stdin:
    request = json.loads(line)
    print(json.dumps({"ID": request["ID"], **answer(request)}), flush=True)
