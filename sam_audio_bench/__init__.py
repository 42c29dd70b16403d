"""The evaluation harness of promptable audio source separation."""

__version__ = "0.1.0"
