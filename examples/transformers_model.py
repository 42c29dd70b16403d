"""A model that `transformers` loads, from a folder or its cache, and that gives sound for sound; it stays loaded.

python examples/transformers_model.py FOLDER_OR_NAME [--trust-remote-code]; the latter runs code beside the weights.
"""

import json
import os
import sys
from pathlib import Path

import soundfile
import torch
from transformers import AutoModel, set_seed

answers = os.fdopen(os.dup(1), "w", buffering=1)  # what standard output was is for answers alone:
os.dup2(2, 1)  # what libraries print goes to standard error

place, trusted = sys.argv[1], sys.argv[2:] == ["--trust-remote-code"]
try:
    model = AutoModel.from_pretrained(place, trust_remote_code=trusted, local_files_only=True).eval()
except (OSError, ValueError) as error:
    sys.exit(f"expected a model that transformers can load at {place}, found: {error}")
rate = getattr(model.config, "sampling_rate", None)
if model.main_input_name != "input_values" or not rate:
    sys.exit(
        "expected a model that is given waveforms (input_values) and says its sampling_rate, "
        f"found {type(model).__name__} with {model.main_input_name} and {rate} Hz"
    )


def separate(mixture):
    """The model's answer to ``[channels, time]`` at its rate; its output's name, and what it is told, are its own."""
    with torch.inference_mode():
        output = model(input_values=mixture[None])
    if not hasattr(output, "audio_values"):
        raise ValueError(f"expected audio_values from {type(model).__name__}, found {list(output)}")
    found = output.audio_values.reshape(len(mixture), -1)
    missing = mixture.shape[1] - found.shape[1]  # models work on whole frames
    if abs(missing) >= 0.02 * rate:
        raise ValueError(f"expected {mixture.shape[1]} samples, found {found.shape[1]}")
    return torch.nn.functional.pad(found, (0, missing))  # cuts, where it is negative


print('{"ready": true}', file=answers)
for line in sys.stdin:
    query = json.loads(line)
    try:
        samples, found_rate = soundfile.read(query["mixture"], dtype="float32", always_2d=True)
        if found_rate != rate:
            raise ValueError(f"expected {rate} Hz, found {found_rate} Hz; wrap this in Adapted(…, rate={rate})")
        set_seed(query["seed"] % 2**32)
        target = separate(torch.from_numpy(samples.T.copy()))
        soundfile.write(Path(query["folder"], "target.wav"), target.T.numpy(), rate, subtype="FLOAT")
        answer = {"target": "target.wav"}
    except Exception as error:  # costs this item alone
        answer = {"error": str(error)}
    print(json.dumps({"id": query["id"], **answer}), file=answers)
