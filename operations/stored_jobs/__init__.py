"""Jobs as they lie on topics: read, selected, counted, dead letters and what was decided about them."""
