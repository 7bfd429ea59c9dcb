"""What a run leaves on disk: typed documents, its folder, checkpoints, and which model a request means."""
