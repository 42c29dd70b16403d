"""A separator that stays: loaded once, then a query a line in, and an answer a line out."""

import json
import os
import sys
from pathlib import Path

import soundfile

answers = os.fdopen(os.dup(1), "w", buffering=1)  # what standard output was is for answers alone:
os.dup2(2, 1)  # what libraries print goes to standard error


def separate(mixture, rate, query):
    """Your model, loaded above; the mixture is float32 ``[time, channels]``."""
    return 0.5 * mixture


print('{"ready": true}', file=answers)
for line in sys.stdin:
    query = json.loads(line)
    try:
        mixture, rate = soundfile.read(query["mixture"], dtype="float32", always_2d=True)
        target = separate(mixture, rate, query)  # query["text"], ["spans"], ["video"], ["mask"], ["seed"]
        soundfile.write(Path(query["folder"], "target.wav"), target, rate, subtype="FLOAT")
        answer = {"target": "target.wav"}
    except Exception as error:  # costs this item alone
        answer = {"error": repr(error)}
    print(json.dumps({"id": query["id"], **answer}), file=answers)
