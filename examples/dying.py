"""A worker that dies: `dying.py 3` is killed at every third query, `dying.py` at each."""

import json
import os
import shutil
import signal
import sys
from pathlib import Path

every = int(sys.argv[1]) if len(sys.argv) > 1 else 1
print('{"ready": true}', flush=True)
for line in sys.stdin:
    query = json.loads(line)
    if query["id"] % every == 0:
        os.kill(os.getpid(), signal.SIGKILL)  # as the kernel does where memory is short
    shutil.copy(query["mixture"], Path(query["folder"], "target.wav"))
    print(json.dumps({"id": query["id"], "target": "target.wav"}), flush=True)
