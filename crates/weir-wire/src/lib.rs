//! Words on the wire: header names, error documents, JSON bodies.
