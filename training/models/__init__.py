"""One file per method. Reading order: `mgdm` (discrimination of mined hard negatives)."""
