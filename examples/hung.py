"""A program that hangs: it reads its queries, starts a helper in a session of its own, and never answers."""

import subprocess
import sys
import time

print('{"ready": true}', flush=True)
for _ in sys.stdin:
    subprocess.Popen(["sleep", "600.25"], start_new_session=True)
    time.sleep(600)
