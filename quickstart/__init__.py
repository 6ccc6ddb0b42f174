"""`make quickstart`: the eight steps of Segment's guide, walked by an outside client that checks what it is told."""
