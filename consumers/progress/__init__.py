"""An assigned partition: how far it has come, in memory, in its commits and on the progress topic."""
