//! Shared parts of the kernel and end-to-end tests.
