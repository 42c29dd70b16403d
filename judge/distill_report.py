"""Evaluates a distilled audio encoder on held-out recordings, against its teacher and against labels."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from scipy.stats import rankdata
from torch import Tensor, nn
from torch.nn import functional as F

from judge.distill import CLIP, PATCH, RATE, Student, Teacher
from judge.stems import Stem, load_samples
from sam_audio_bench.files import write_json
from sam_audio_bench.judge.audio_encoder import FRAME_SAMPLES, AudioEncoderConfig, log_mel
from sam_audio_bench.judge.word_vectors import WordTokenizer, WordVectors
from sam_audio_bench.nn.config import read_config

__all__ = ["average_precision", "roc_auc", "write_report"]

_PRESENT = 0.3  # probability of the teacher from which an event counts as present
_FEWEST = 10  # minimum number of patches with an event for its AUC
_LEVEL = 10 ** (-25 / 20)  # RMS to which stems are scaled

Scores = NDArray[np.float64]
Truth = NDArray[np.bool_]


def write_report(parts: Mapping[str, Sequence[Stem]], out: Path, words: Path) -> None:
    """Writes ``metrics.json``.

    Args:
        parts: stems by split: "train" for probes, "test", and "unseen", whose classes are new to the student.
        out: folder of the student and of ``test.npy``, rows of degraded and mixed clips.
        words: folder of the word vectors that map labels to weights of events.
    """
    teacher, student = Teacher(), Student(AudioEncoderConfig.of(read_config(out / "config.json")))
    student.load_state_dict(load_file(out / "student.safetensors"))
    student.eval().requires_grad_(False)
    found = {"degraded": against_teacher(teacher, student, torch.from_numpy(np.load(out / "test.npy")).float())}
    tagged = {split: tag_stems(teacher, student, stems) for split, stems in parts.items() if stems}
    for split in tagged.keys() - {"train"}:
        found[split] = by_words(tagged[split], [stem.label for stem in parts[split]], words)
    known = [[stem.label for stem in parts[split]] for split in ("train", "test")]
    for name in ("teacher", "student"):
        vectors = [tagged[split][f"{name}_vectors"] for split in ("train", "test")]
        found["test"][f"{name}_probe_map"], found["test"][f"{name}_probe_top1"] = probe(*vectors, *known)
    write_json(out / "metrics.json", found)


@torch.inference_mode()
def against_teacher(teacher: Teacher, student: Student, clips: Tensor) -> dict[str, float]:
    """Compares the student's patches with the teacher's, for rows ``[clips, 960, 64]``."""
    parts = [(*teacher(rows), *student(rows)) for rows in clips.split(16)]
    logits, features, ours, standard = (torch.cat(part).flatten(0, 1) for part in zip(*parts, strict=True))
    restored = standard * student.spread + student.mean
    targets = (features - student.mean) / student.spread
    best = ours.argmax(dim=1, keepdim=True)
    present = (logits.sigmoid() > _PRESENT).numpy()
    enough = (present.sum(axis=0) >= _FEWEST).nonzero()[0]
    areas = [roc_auc(ours[:, event].numpy(), present[:, event]) for event in enough]
    return {
        "patches": len(logits),
        "feature_cosine": float(F.cosine_similarity(restored, features).mean()),
        "standardised_feature_cosine": float(F.cosine_similarity(standard, targets).mean()),
        "top1": float((logits.argmax(dim=1, keepdim=True) == best).float().mean()),
        "top1_in_teachers_top5": float((logits.topk(5).indices == best).any(dim=1).float().mean()),
        "events_with_auc": len(areas),
        "mean_auc": float(np.mean(areas)),
        "worst_tenth_auc": float(np.quantile(areas, 0.1)),
    }


@torch.inference_mode()
def tag_stems(teacher: Teacher, student: Student, stems: Sequence[Stem]) -> dict[str, Tensor]:
    """Returns probabilities and features of teacher and student, averaged over the first 9.6 s of each stem."""
    found: dict[str, list[Tensor]] = {}
    for stem in stems:
        signal = torch.from_numpy(load_samples(stem.path)[: CLIP * RATE // 100].copy())
        signal = signal * (_LEVEL / signal.square().mean().sqrt().clamp(min=1e-6))
        short = max(0, PATCH * RATE // 100 - len(signal))
        signal = F.pad(signal, (0, short + -(len(signal) + short) % FRAME_SAMPLES))
        rows = log_mel(signal[None])
        logits, features = teacher(rows)
        embedding = student.listener.encode(rows)
        values = {
            "teacher": logits.sigmoid().mean(dim=1),
            "student": student.listener.event_logits(embedding).sigmoid().mean(dim=1),
            "teacher_vectors": features.mean(dim=1),
            "student_vectors": embedding.mean(dim=1),
        }
        for name, value in values.items():
            found.setdefault(name, []).append(value)
    return {name: torch.cat(value) for name, value in found.items()}


def by_words(tagged: Mapping[str, Tensor], labels: Sequence[str], words: Path) -> dict[str, float]:
    """Evaluates zero-shot retrieval of stems by the events that the words of a label resemble."""
    names = sorted(set(labels))
    vectors, tokens = WordVectors.of_folder(words), WordTokenizer(words)
    weights = vectors.event_weights(vectors(*tokens(names)))
    truth = np.array(labels)[:, None] == np.array(names)
    found: dict[str, float] = {"stems": len(labels), "labels": len(names)}
    for tagger in ("teacher", "student"):
        scores = (tagged[tagger] @ weights.T).double().numpy()
        found[f"{tagger}_words_map"] = _mean(average_precision, scores, truth)
        found[f"{tagger}_words_auc"] = _mean(roc_auc, scores, truth)
    return found


def probe(known: Tensor, new: Tensor, known_labels: Sequence[str], new_labels: Sequence[str]) -> tuple[float, float]:
    """Returns mean average precision and accuracy of a linear probe that is trained on known stems."""
    names = sorted(set(known_labels) & set(new_labels))
    rows, others = (
        torch.tensor([index for index, label in enumerate(labels) if label in names])
        for labels in (known_labels, new_labels)
    )
    classes, truth = (
        torch.tensor([names.index(labels[row]) for row in chosen.tolist()])
        for labels, chosen in ((known_labels, rows), (new_labels, others))
    )
    mean, spread = known[rows].mean(dim=0), known[rows].std(dim=0).clamp(min=1e-3)
    inputs, tests = ((part - mean) / spread for part in (known[rows], new[others]))
    torch.manual_seed(0)
    layer = nn.Linear(inputs.shape[1], len(names))
    optimiser = torch.optim.LBFGS(layer.parameters(), max_iter=200, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        loss = F.cross_entropy(layer(inputs), classes) + 0.01 * layer.weight.square().sum() / len(names)
        loss.backward()
        return loss

    optimiser.step(closure)
    scores = layer(tests).detach().softmax(dim=1)
    precision = _mean(average_precision, scores.double().numpy(), F.one_hot(truth, len(names)).bool().numpy())
    return precision, float((scores.argmax(dim=1) == truth).float().mean())


def average_precision(scores: Scores, truth: Truth) -> float:
    """Returns average precision: the mean over positive rows of the precision at their score."""
    hits = truth[np.argsort(-scores, kind="stable")]
    places = np.arange(1, len(hits) + 1)
    return float((np.cumsum(hits) / places)[hits].mean())


def roc_auc(scores: Scores, truth: Truth) -> float:
    """Returns ROC AUC: the probability that a positive row scores above a negative one; ties count half."""
    ranks, count = rankdata(scores), int(truth.sum())
    return float((ranks[truth].sum() - count * (count + 1) / 2) / (count * (len(truth) - count)))


def _mean(measure: Callable[[Scores, Truth], float], scores: Scores, truth: Truth) -> float:
    return float(np.mean([measure(scores[:, column], truth[:, column]) for column in range(truth.shape[1])]))
