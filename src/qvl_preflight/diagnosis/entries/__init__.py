"""The causes that only a log shows, by theme."""

from qvl_preflight.diagnosis.entries import hardware, packages, quantized, running

ENTRIES = (*hardware.ENTRIES, *quantized.ENTRIES, *packages.ENTRIES, *running.ENTRIES)
