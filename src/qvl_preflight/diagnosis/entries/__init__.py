"""The causes that only a log shows, by theme."""

from qvl_preflight.diagnosis.entries import engines, hardware, hub, packages, quantized, running

ENTRIES = (*hardware.ENTRIES, *quantized.ENTRIES, *packages.ENTRIES, *running.ENTRIES, *hub.ENTRIES, *engines.ENTRIES)
