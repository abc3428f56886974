//! Targets: from what the user named to the processes in `/proc` that are meant.
