//! Sick and healthy windows.
