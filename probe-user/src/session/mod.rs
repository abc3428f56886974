//! Wires the stages into the commands.
