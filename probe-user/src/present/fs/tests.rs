//! Windows in, pages out.
